"""Diagnose a trained run: does adaptation help, and if not, why? Prints a report and writes it as JSON."""

from __future__ import annotations

import metarl.backend.starting  # noqa: F401  before torch, which takes seconds to load

# isort: split
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from envs.errors import require
from metarl.backend.files import check_output, write_atomically
from metarl.cli import Session, run_main
from metarl.diagnosis.diagnose import diagnose
from metarl.diagnosis.findings import short
from metarl.diagnosis.probe import Probe
from metarl.figures.terminal import full_width, show
from metarl.training import config_file
from metarl.training.run import Run

STYLES = {"ok": "green", "note": "yellow", "problem": "bold red", "does not apply": "dim"}


@dataclass(frozen=True)
class Diagnose:
    """Diagnose a trained run: does adaptation help, and if not, why? Prints a report and writes it as JSON."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """The run folder that train.py wrote."""
    num_tasks: int | None = None
    """Tasks to play; by default about 128,000 environment steps' worth for each stage."""
    num_envs: int | None = None
    """Episodes per task and step; by default as many as in training, on which the noise of inner gradients depends."""
    num_steps: int | None = None
    """Gradient steps, by default 3 or as many as training takes, on which the verdict is."""
    split: str = "test"
    """The tasks that most findings are about: train, test or ood. Their gap is about all three."""
    seed: int = 0
    """Seed of the tasks and episodes."""
    output: Path | None = None
    """The JSON file; by default DIR/diagnosis.json."""
    session: Session = field(default_factory=Session)


def evidence(numbers: dict[str, Any]) -> str:
    """Numbers in words, such as `gain 1.2 (0.9 … 1.5); tasks 64`."""
    return "; ".join(f"{name} {in_words(value)}" for name, value in numbers.items())


def in_words(value: Any) -> str:
    if isinstance(value, dict) and value.keys() == {"mean", "mean_ci95"}:
        return f"{in_words(value['mean'])} ({' … '.join(map(in_words, value['mean_ci95']))})"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {in_words(v)}" for name, v in value.items()) or "–"
    if isinstance(value, list):
        return ", ".join(map(in_words, value))
    return "–" if value is None else str(value) if isinstance(value, int | str) else short(value)


def report(result: dict[str, Any]) -> Table:
    """A row for each finding."""
    out = Table(box=SIMPLE, padding=(0, 1), show_header=False, show_edge=False)
    for _ in ("finding", "verdict"):
        out.add_column()
    out.add_column(overflow="fold")
    for f in result["findings"]:
        lines = [escape(f["sentence"])]
        if f["numbers"]:
            lines.append(f"[dim]{escape(evidence(f['numbers']))}[/dim]")
        if f["next"]:
            lines.append(f"[cyan]try: {escape(f['next'])}[/cyan]")
        mark = "–" if f["verdict"] == "does not apply" else f["verdict"]
        out.add_row(f["name"], f"[{STYLES[f['verdict']]}]{mark}[/]", "\n".join(lines))
    return out


def main(arguments: list[str]) -> None:
    args = tyro.cli(Diagnose, prog="diagnose.py", args=arguments, config=(tyro.conf.OmitArgPrefixes,))
    for name in ("num_tasks", "num_envs", "num_steps"):
        value = getattr(args, name)
        require(value is None or value >= 1, f"{name} must be at least 1, not {value}.")
    require(0 <= args.seed < 2**63, f"seed must lie in 0 .. 2^63 - 1, not {args.seed}.")
    output = args.output or args.run_dir / "diagnosis.json"
    config_file.read(args.run_dir)  # a folder that is no run is said before anything about the output
    check_output(output, ["findings"])
    run = Run.open(args.run_dir, args.session.apply(), change_env=args.session.choose_engine)
    run.env.check_split(args.split)
    remembers = run.algorithm.stages().trial
    require(
        not remembers or args.num_steps is None, f"{args.run_dir} holds a policy with a memory, which takes no "
        "gradient steps; leave --num-steps out.",
    )  # fmt: skip
    trained = run.algorithm.inner.num_trained_steps if run.algorithm.inner else 1
    num_steps = 0 if remembers else args.num_steps or max(3, trained)
    probe = Probe.of(run, args.split, args.num_tasks, args.num_envs, args.seed, num_steps)
    with Progress(transient=True, disable=not sys.stdout.isatty()) as progress:
        bar = progress.add_task(f"{probe.num_tasks} tasks", total=1.0)
        result = diagnose(probe, lambda done: progress.update(bar, completed=done))
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, lambda path: path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n"))
    console = Console(highlight=False, soft_wrap=full_width())
    console.print(f"[{STYLES[result['verdict']]}]{escape(result['sentence'])}[/]")
    played = f"{result['num_envs']} episode{'s' * (result['num_envs'] != 1)} a task and stage"
    tasks = f"{result['num_tasks']} {result['split']} tasks of {result['env']}"
    done = f"{result['preset']} after {result['iteration']} meta-iterations"
    console.print(f"[dim]{escape(f'{done}, on {tasks}, {played}')}[/dim]\n")
    show(report(result))
    print(f"Wrote {output}")


if __name__ == "__main__":
    run_main(main)
