"""List the task families: what varies between tasks, presets, spaces, splits and references; sample and save tasks.

python scripts/list_envs.py
python scripts/list_envs.py --family point
python scripts/list_envs.py --family point --sample 5 --split test --output tasks.json
"""

from __future__ import annotations

import metarl.backend.starting  # noqa: F401  before torch, which takes seconds to load

# isort: split
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich import box
from rich.markup import escape
from rich.table import Table

import envs
from envs.contract import draw_tasks, task_dicts
from envs.describing import Rows, family_rows, parameter_rows
from envs.errors import require
from envs.tasks import describe_task, save_tasks
from metarl.cli import run_main
from metarl.figures import terminal as tables


@dataclass(frozen=True)
class ListEnvs:
    """List the task families, the details of one, or tasks of it."""

    family: str | None = None
    """Show this one in detail."""
    preset: str | None = None
    """Its configuration; by default the first."""
    sample: int = 0
    """Draw so many tasks of the family and describe each in a line."""
    split: str = "train"
    """Where to draw them from: train, test or ood."""
    seed: int = 0
    """Seed of the draw."""
    output: Path | None = None
    """Save the drawn tasks to this .json file."""
    imports: str = ""
    """Python modules to import first, joined by commas, such as one that registers your own environment family."""


def check(args: ListEnvs) -> None:
    """Raise `InputError` unless the options make sense together."""
    require(args.sample >= 0, f"sample must be at least 0, not {args.sample}.")
    require(0 <= args.seed < 2**63, f"seed must lie in 0 .. 2^63 - 1, not {args.seed}.")
    for name in ("split", "seed", "output"):
        idle = args.sample == 0 and getattr(args, name) != getattr(ListEnvs, name)
        require(not idle, f"Say with --sample how many tasks to draw for --{name}.")
    alone = args.sample == 0 and args.preset is None
    require(args.family is not None or alone, f"Say with --family which one is meant: {', '.join(envs.FAMILIES)}.")


def show(title: str, rows: Rows, *header: str) -> None:
    """Print a table of plain text, at most 100 columns wide on a terminal."""
    table = Table(box=box.ROUNDED, title=title, title_justify="left", show_header=bool(header))
    first, *others = header or ("", "")
    table.add_column(first, style="cyan")
    for name in others:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    tables.show(table, most=100)


def show_family(id: str, preset: str | None = None) -> None:
    """A family, with its spaces and splits under one preset."""
    chosen = preset or next(iter(envs.family(id).presets))
    rows = family_rows(id, preset)
    show(f"[bold]{escape(id)}[/]  {escape(envs.family(id).gym_id)}  [dim]as {escape(chosen)}[/]", rows)


def main(arguments: list[str]) -> None:
    args = tyro.cli(ListEnvs, prog="list_envs.py", args=arguments)
    check(args)
    if args.family is None:
        for id in envs.FAMILIES:
            show_family(id)
    elif args.sample == 0:
        show_family(args.family, args.preset)
        rows = parameter_rows(args.family)
        show("parameters, with their values in the first preset and in others", rows, "name", "value", "meaning")
    else:
        env, preset = envs.make(args.family, args.preset), args.preset or next(iter(envs.family(args.family).presets))
        task = draw_tasks(env, args.sample, envs.task_generator(args.seed, args.split), args.split)
        for row in task_dicts(env, task):
            print(describe_task(env, row))
        if args.output is not None:
            path = save_tasks(args.output, args.family, preset, env, task, args.split, args.seed)
            print(f"Wrote {path}")


if __name__ == "__main__":
    run_main(main)
