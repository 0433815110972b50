"""Compare methods on the same held-out tasks: a report as HTML and Markdown, the numbers as JSON, a figure as PNG."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from metarl.figures.terminal import show
from metarl.study import compare_runs


@dataclass(frozen=True)
class Arguments:
    """Compare methods on the same held-out tasks: a report as HTML and Markdown, the numbers as JSON, a figure as PNG.

    Runs that differ in the seed alone are one method, aggregated as in Agarwal et al. 2021. Runs on several
    environments are compared on each, under one table of all methods on all of them. Policies with a memory and methods
    that adapt by gradient steps are compared by the episodes that they have seen of a task.
    """

    run_dirs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders that metarl evaluate has evaluated; the others are measured against the method of the first."""
    split: str = "test"
    """Which evaluation to compare: evaluation-SPLIT.json of each folder."""
    output: Path = Path("compare.md")
    """The Markdown or the HTML file; the other one, JSON and PNG go beside it."""
    embed: bool = False
    """Put the videos of the run folders into the HTML file, which is then one file to send; else it links them."""
    imports: str = ""
    """Python modules to import first, joined by commas, such as one that registers your own environment family."""


def main(arguments: list[str]) -> None:
    args = tyro.cli(Arguments, prog="metarl compare", args=arguments, config=(tyro.conf.OmitArgPrefixes,))
    study = compare_runs(args.run_dirs, args.split)
    page, text, picture, numbers = study.write(args.output, args.embed)
    for sheet in study.sheets:
        show(sheet.rich())
    for note in study.notes:
        print(note)
    print(f"Wrote {page}, {text}, {picture} and {numbers}")
