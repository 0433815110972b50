"""List the task families: what varies between tasks, presets, spaces, splits and references; sample and save tasks.

python scripts/list_envs.py
python scripts/list_envs.py --family point
python scripts/list_envs.py --family point --sample 5 --split test --output tasks.json
"""

from __future__ import annotations

import metarl.backend.starting  # noqa: F401  before torch, which takes seconds to load

# isort: split
import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich import box
from rich.markup import escape
from rich.table import Table

import envs
from envs.contract import all_references, draw_tasks, task_dicts
from envs.errors import require
from envs.tasks import describe_parameters, describe_task, meanings, save_tasks
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


def show(title: str, rows: Iterable[tuple[str, ...]], header: tuple[str, ...] = ()) -> None:
    """Print a table of plain text, at most 100 columns wide on a terminal."""
    table = Table(box=box.ROUNDED, title=title, title_justify="left", show_header=bool(header))
    first, *others = header or ("", "")
    table.add_column(first, style="cyan")
    for name in others:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    tables.show(table, most=100)


def overview(id: str, preset: str | None) -> None:
    """A family, with its spaces and splits under one preset."""
    family, env = envs.family(id), envs.make(id, preset)
    chosen = preset or next(iter(family.presets))
    names = (f"{name} ({family.build(config, env.device).horizon})" for name, config in family.presets.items())
    rows = [("presets (steps)", ", ".join(names))]
    rows += [(f"task: {name}", words) for name, words in describe_parameters(env).items()]
    rows += [("observation", str(env.observation_space)), ("action", str(env.action_space))]
    rows += [(f"split: {name}", words) for name, words in env.splits.items()]
    rows += [("references", " · ".join(all_references(env)))]
    show(f"[bold]{escape(id)}[/]  {escape(family.gym_id)}  [dim]as {escape(chosen)}[/]", rows)


def details(id: str) -> None:
    """The parameters of a family, and where its presets differ from the first."""
    presets = envs.family(id).presets
    first = next(iter(presets.values()))
    said, rows = meanings(type(first)), []
    for name, default in ((field.name, getattr(first, field.name)) for field in dataclasses.fields(first)):
        others = {preset: getattr(config, name) for preset, config in presets.items()}
        changed = ", ".join(f"{preset} {value!r}" for preset, value in others.items() if value != default)
        rows.append((name, repr(default), said.get(name, "") + (f" · {changed}" if changed else "")))
    show("parameters, with their values in the first preset and in others", rows, ("name", "value", "meaning"))


def main(arguments: list[str]) -> None:
    args = tyro.cli(ListEnvs, prog="list_envs.py", args=arguments)
    require(args.sample >= 0, f"sample must be at least 0, not {args.sample}.")
    require(0 <= args.seed < 2**63, f"seed must lie in 0 .. 2^63 - 1, not {args.seed}.")
    for name in ("split", "seed", "output"):
        idle = args.sample == 0 and getattr(args, name) != getattr(ListEnvs, name)
        require(not idle, f"Say with --sample how many tasks to draw for --{name}.")
    if args.family is None:
        alone = args.sample == 0 and args.preset is None
        require(alone, f"Say with --family which one is meant: {', '.join(envs.FAMILIES)}.")
        for id in envs.FAMILIES:
            overview(id, None)
    elif args.sample == 0:
        overview(args.family, args.preset)
        details(args.family)
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
