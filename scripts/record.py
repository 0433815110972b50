"""Record a video of adaptation: the same held-out tasks before and after each gradient step, side by side.

Of a policy with a memory: trials, episode after episode, with the memory's attention over the past.
"""

from __future__ import annotations

import metarl.backend.starting  # noqa: F401  before torch, which takes seconds to load

# isort: split
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from torch import Generator

import envs
from envs.contract import draw_tasks
from envs.errors import require
from metarl.cli import Session, run_main
from metarl.figures.appearance import title
from metarl.training.run import Run
from metarl.video.compose import check_video_path, compose, keep_frame, write_video
from metarl.video.recording import pace, record_adaptation


@dataclass(frozen=True)
class Record:
    """Record a video of adaptation: the same held-out tasks before and after each gradient step, side by side.

    Of a policy with a memory: trials, episode after episode, with the memory's attention over the past.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]
    """The run folder that train.py wrote."""
    num_tasks: int | None = None
    """Tasks, one after another; by default 3."""
    split: str = "test"
    """train, test (held-out tasks of the training law) or ood (outside its range)."""
    tasks: Path | None = None
    """A file of tasks that list_envs.py saved, instead of tasks drawn by split and seed."""
    num_steps: int | None = None
    """Gradient steps, by default 3: panels after the first. A policy with a memory takes none."""
    refine_steps: int = 0
    """Gradient steps of a policy with a memory on its own experience, before the last episode of the trial."""
    seed: int = 0
    """Seed of the tasks and episodes."""
    output: Path | None = None
    """An .mp4 or .gif file; by default videos/NAME.mp4 with the name of the run folder."""
    frame: Path | None = None
    """A .png file for the end of the first task, as a picture that links to the video; by default there is none."""
    session: Session = field(default_factory=Session)


def main(arguments: list[str]) -> None:
    args = tyro.cli(Record, prog="record.py", args=arguments, config=(tyro.conf.OmitArgPrefixes,))
    drawn = args.num_tasks is not None or args.split != "test"
    require(args.tasks is None or not drawn, "--tasks plays the tasks of a file, so leave --num-tasks and --split out.")
    require(args.num_tasks is None or args.num_tasks >= 1, f"num_tasks must be at least 1, not {args.num_tasks}.")
    require(args.num_steps is None or args.num_steps >= 0, f"num_steps must be at least 0, not {args.num_steps}.")
    require(args.refine_steps >= 0, f"refine_steps must be at least 0, not {args.refine_steps}.")
    require(0 <= args.seed < 2**63, f"seed must lie in 0 .. 2^63 - 1, not {args.seed}.")
    run = Run.open(args.run_dir, args.session.apply(), change_env=args.session.choose_engine)
    run.require_checkpoint()
    generator = Generator(run.device).manual_seed(args.seed)
    if args.tasks is not None:
        task = envs.load_tasks(args.tasks, run.env)
    else:
        task_generator = envs.task_generator(args.seed, args.split, run.device)
        task = draw_tasks(run.env, args.num_tasks or 3, task_generator, args.split)
    frame = args.frame and check_video_path(args.frame, "frame")
    output = check_video_path(args.output or Path("videos") / f"{args.run_dir.resolve().name}.mp4")
    algorithm = run.algorithm
    stages = algorithm.stages(args.num_steps, args.refine_steps)
    play = algorithm.play(run.env, run.config.eval_num_envs, generator, stages)
    recording = record_adaptation(play, task, stages, algorithm.attention)
    every, fps = pace(recording)
    header = title(run.preset, f"{run.config.env}/{run.config.env_preset}")
    frames = compose(run.env, recording, header, "" if args.tasks else args.split, every=every, fps=fps)
    if frame:
        frames = keep_frame(frames, math.ceil(recording.num_episodes * recording.durations[0] / every), frame)
    print(f"Wrote {write_video(frames, output, fps)}" + (f" and {frame}" if frame else ""))


if __name__ == "__main__":
    run_main(main)
