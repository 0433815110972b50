"""Evaluate how a trained run adapts to tasks it has not seen: prints a table, writes PNG and JSON."""

from __future__ import annotations

import metarl.backend.starting  # noqa: F401  before torch, which takes seconds to load

# isort: split
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.box import SIMPLE
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from torch import Generator

import envs
from envs.contract import draw_tasks
from envs.errors import require
from metarl.backend.files import check_output, write_atomically
from metarl.cli import Session, run_main
from metarl.evaluation.curve import adaptation_rewards, fingerprint, reference_rewards, stages_of, summarize
from metarl.evaluation.plot import plot_curve
from metarl.figures.appearance import title
from metarl.figures.terminal import show
from metarl.training import config_file
from metarl.training.commands import command_line
from metarl.training.loop import NonFiniteError
from metarl.training.run import Run


@dataclass(frozen=True)
class Evaluate:
    """Evaluate how a trained run adapts to tasks it has not seen: prints a table, writes PNG and JSON."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """The run folder that train.py wrote."""
    num_tasks: int | None = None
    """Tasks to evaluate on; by default the run's eval_num_tasks."""
    split: str = "test"
    """train, test (held-out tasks of the training law) or ood (outside its range)."""
    num_steps: int | None = None
    """Gradient steps, by default 3. A policy with a memory takes none: it adapts in the episodes of its trial."""
    refine_steps: int = 0
    """Gradient steps of a policy with a memory on its own experience, before the last episode of the trial."""
    tasks: Path | None = None
    """A file of tasks that list_envs.py saved, instead of tasks drawn by split and seed."""
    num_envs: int | None = None
    """Episodes per task and step; by default the run's eval_num_envs."""
    seed: int = 0
    """Seed of the tasks and episodes; the tasks depend on it and the split alone."""
    references: bool = True
    """Play the reference policies on the same tasks, too; some plan at length."""
    output: Path | None = None
    """The JSON file; the PNG goes beside it. By default DIR/evaluation-SPLIT.json."""
    session: Session = field(default_factory=Session)


def evaluate(args: Evaluate) -> dict[str, Any]:
    """The evaluation of a run as a JSON-able dict."""
    run = Run.open(args.run_dir, args.session.apply(), change_env=args.session.choose_engine)
    run.require_checkpoint()
    num_envs = args.num_envs or run.config.eval_num_envs
    generator = Generator(run.device).manual_seed(args.seed)
    if args.tasks is not None:
        task = envs.load_tasks(args.tasks, run.env)
    else:
        task_generator = envs.task_generator(args.seed, args.split, run.device)
        num_tasks = args.num_tasks or run.config.eval_num_tasks
        task = draw_tasks(run.env, num_tasks, task_generator, args.split)
    split = args.split if args.tasks is None else str(args.tasks)
    algorithm = run.algorithm
    stages = algorithm.stages(args.num_steps, args.refine_steps)
    num_episodes = stages.episodes
    with Progress(transient=True) as progress:
        bar = progress.add_task(f"{len(task)} tasks", total=1.0)
        play = algorithm.play(run.env, num_envs, generator, stages)
        group = algorithm.tasks_at_a_time
        rewards = adaptation_rewards(
            run.env, play, task, num_envs * num_episodes, lambda done: progress.update(bar, completed=done), group
        )
    diverged = int((~rewards.isfinite()).any((1, 2)).sum())
    if diverged:
        raise NonFiniteError(f"On {diverged} of {len(task)} tasks adaptation met a return that is not finite.")
    references = reference_rewards(run.env, task, num_envs, generator, num_episodes) if args.references else {}
    return {
        "preset": run.preset,
        "env": f"{run.config.env}/{run.config.env_preset}",
        "algorithm": type(run.algorithm).__name__,
        "split": split,
        "num_tasks": len(task),
        "tasks": fingerprint(task),
        "num_envs": num_envs,
        "seed": args.seed,
        "train_seed": run.config.seed,
        "iteration": run.iteration,
        "env_steps": run.env_steps,
        "train_seconds": run.seconds,
        **summarize(rewards.numpy(), {k: r.numpy() for k, r in references.items()}, stages),
    }


def table(result: dict[str, Any]) -> Table:
    """The adaptation curve and the references."""
    tasks = f"{result['num_tasks']} {result['split']} tasks"
    stages = stages_of(result)
    heading = f"{title(result['preset'], result['env'])}: return on {tasks}, iteration {result['iteration']}"
    caption = f"steps: {stages.unit}; IQM: interquartile mean; intervals: bootstrap"
    out = Table(title=escape(heading), caption=caption, box=SIMPLE, padding=(0, 1))
    out.add_column("policy")
    for name in ("mean", "95 % of mean", "IQM", "95 % of IQM", "std"):
        out.add_column(name, justify="right")

    def number(x: float) -> str:
        return f"{x:.2f}" if abs(x) < 100 else f"{x:.1f}"

    def interval(low: float, high: float) -> str:
        return f"{number(low)} … {number(high)}"

    a = result["adaptation"]
    for k, (name, mean) in enumerate(zip(stages.names, a["mean"], strict=True)):
        spread = interval(*a["mean_ci95"][k]), number(a["iqm"][k]), interval(*a["iqm_ci95"][k]), number(a["std"][k])
        out.add_row(name, number(mean), *spread)
    out.add_section()
    for name, r in result["references"].items():
        out.add_row(escape(name), number(r["mean"]), interval(*r["mean_ci95"]), style="dim")
    if stages.episodes > 1:
        out.add_section()
        for name, of in (("whole trial", result), *result["references"].items()):
            t, style = of["trial"], None if of is result else "dim"
            of_trial = (interval(*t["mean_ci95"]), number(t["iqm"]), interval(*t["iqm_ci95"]))
            name = name if of is result else escape(f"{name}, whole trial")
            out.add_row(name, number(t["mean"]), *of_trial, style=style)
    return out


def main(arguments: list[str]) -> None:
    args = tyro.cli(Evaluate, prog="evaluate.py", args=arguments, config=(tyro.conf.OmitArgPrefixes,))
    drawn = args.num_tasks is not None or args.split != "test"
    require(args.tasks is None or not drawn, "--tasks plays the tasks of a file, so leave --num-tasks and --split out.")
    require(args.num_tasks is None or args.num_tasks >= 1, f"num_tasks must be at least 1, not {args.num_tasks}.")
    require(args.num_steps is None or args.num_steps >= 0, f"num_steps must be at least 0, not {args.num_steps}.")
    require(args.refine_steps >= 0, f"refine_steps must be at least 0, not {args.refine_steps}.")
    require(args.num_envs is None or args.num_envs >= 1, f"num_envs must be at least 1, not {args.num_envs}.")
    require(0 <= args.seed < 2**63, f"seed must lie in 0 .. 2^63 - 1, not {args.seed}.")
    output = args.output or args.run_dir / f"evaluation-{args.tasks.stem if args.tasks else args.split}.json"
    config_file.read(args.run_dir)  # a folder that is no run is said before anything about the output
    check_output(output, ["per_task"])
    split = args.split if args.tasks is None else str(args.tasks)
    there = json.loads(output.read_text()).get("split") if output.exists() else split
    require(there == split, f"{str(output)!r} holds one on other tasks ({there}), which would be lost; choose "
            "another --output.")  # fmt: skip
    result = evaluate(args) | {"command": command_line("evaluate.py", arguments)}
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, lambda path: path.write_text(json.dumps(result) + "\n"))
    show(table(result))  # after writing: what was computed is not lost where it cannot be shown
    print(f"Wrote {output} and {plot_curve(result, output.with_suffix('.png'))}")


if __name__ == "__main__":
    run_main(main)
