"""List the task families: what varies between tasks, presets, spaces, splits and references; sample and save tasks.

metarl envs
metarl envs --family point
metarl envs --family point --sample 5 --split test --output tasks.json
"""

from __future__ import annotations

from dataclasses import dataclass, field

import tyro
from rich.markup import escape

import envs
from envs.describing import Draw, drawn_tasks, family_rows, package_rows, parameter_rows
from envs.errors import require
from metarl.figures.terminal import show, words


@dataclass(frozen=True)
class Arguments:
    """List the task families, the details of one, or tasks of it."""

    family: str | None = None
    """Show this one in detail."""
    preset: str | None = None
    """Its configuration; by default the first."""
    draw: Draw = field(default_factory=Draw)
    imports: str = ""
    """Python modules to import first, joined by commas, such as one that registers your own environment family."""


def main(arguments: list[str]) -> None:
    args = tyro.cli(Arguments, prog="metarl envs", args=arguments, config=(tyro.conf.OmitArgPrefixes,))
    args.draw.check()
    alone = args.preset is None and args.draw == Draw()
    require(args.family is not None or alone, f"Say with --family which one is meant: {', '.join(envs.FAMILIES)}.")
    if args.family is not None and args.draw.sample:
        print("\n".join(drawn_tasks(args.family, args.preset, args.draw)))
        return
    for id in [args.family] if args.family is not None else envs.FAMILIES:
        family, rows = envs.family(id), family_rows(id, args.preset)
        as_preset = f"[dim]as {escape(args.preset or family.default)}[/]"
        show(words(f"[bold]{escape(id)}[/]  {escape(family.gym_id)}  {as_preset}", rows), most=100)
    if args.family is None:
        show(words("[bold]of other packages[/]", package_rows()), most=100)
    else:
        title = "parameters, with their values in the first preset and in others"
        show(words(title, parameter_rows(args.family), "name", "value", "meaning"), most=100)
