"""Record a video of how a trained run adapts: the same held-out tasks in each stage of adaptation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from torch import Generator

from envs.fields import PositiveInt
from metarl.evaluation.selection import Selection
from metarl.figures.appearance import title
from metarl.training.run import Run
from metarl.video.compose import check_video_path, compose, keep_frame, write_video
from metarl.video.recording import pace, record_adaptation


@dataclass(frozen=True)
class VideoConfig(Selection):
    """What a video shows."""

    num_tasks: PositiveInt | None = None
    """Tasks, one after another; by default 3."""


def record_run(
    run: Run, output: Path | str, config: VideoConfig | None = None, frame: Path | str | None = None
) -> Path:
    """Play a run on tasks and write the video, with as many episodes a task behind it as in its evaluation.

    Args:
        run: a trained run, such as `Run.open(folder)`.
        output: an .mp4 or .gif file; its folder is made.
        frame: a .png file for the end of the first task.

    Returns:
        The path of the video.

    Raises:
        InputError: for a run without a checkpoint, an unknown split, steps that its method does not take, or a file
            that cannot be written.
        OSError: when the encoder fails, such as on a full disk.
    """
    config = config or VideoConfig()
    run.require_checkpoint()
    task, stages = config.draw(run, default=3), config.stages(run)
    still = check_video_path(frame, "frame") if frame else None
    output = check_video_path(output)
    generator = Generator(run.device).manual_seed(config.seed)
    play = run.algorithm.play(run.env, run.config.eval_num_envs, generator, stages)
    recording = record_adaptation(play, task, stages, run.algorithm.attention, run.algorithm.belief)
    every, fps = pace(recording)
    header = title(run.preset, run.env_name)
    split = "" if config.tasks else config.split
    frames = compose(run.env, recording, header, split, every=every, fps=fps)
    if still:
        frames = keep_frame(frames, math.ceil(recording.num_episodes * recording.durations[0] / every), still)
    return write_video(frames, output, fps)
