"""Compare methods on the same held-out tasks: a report as HTML and Markdown, the numbers as JSON, a figure as PNG."""

from __future__ import annotations

import metarl.backend.starting  # noqa: F401  before torch, which takes seconds to load

# isort: split
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from envs.errors import require
from metarl.backend.files import check_output, write_atomically
from metarl.cli import run_main
from metarl.figures.terminal import full_width, show
from metarl.study.compare import compare
from metarl.study.plots import plot_comparisons
from metarl.study.report import charts, check_embedding, html_report, markdown_report, part
from metarl.study.runs import by_environment, group, read_run
from metarl.study.sheets import overview_sheet

LEGEND = (
    "IQM: interquartile mean over runs and tasks, 95 % bootstrap intervals (Agarwal et al. 2021): of a method with "
    "several seeds over these, on the same tasks; of a single seed and of references over tasks. train s: median."
)
EXPERIENCE = (
    "Methods adapt by gradient steps or in the episodes of a trial: compare them by the episodes of experience on a "
    "task that a stage comes after. A gradient step learns from a batch of episodes, a memory from one after another."
)


@dataclass(frozen=True)
class Compare:
    """Compare methods on the same held-out tasks: a report as HTML and Markdown, the numbers as JSON, a figure as PNG.

    Runs that differ in the seed alone are one method, aggregated as in Agarwal et al. 2021. Runs on several
    environments are compared on each, under one table of all methods on all of them. Policies with a memory and methods
    that adapt by gradient steps are compared by the episodes that they have seen of a task.
    """

    run_dirs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders that evaluate.py has evaluated; the others are measured against the method of the first."""
    step: int | None = None
    """Adaptation steps (of a trial: episodes) before the stage that the table of all environments shows; by default
    each method's last stage."""
    split: str = "test"
    """Which evaluation to compare: evaluation-SPLIT.json of each folder."""
    output: Path = Path("compare.md")
    """The Markdown or the HTML file; the other one, JSON and PNG go beside it."""
    embed: bool = False
    """Put the videos of the run folders into the HTML file, which is then one file to send; else it links them."""
    imports: str = ""
    """Python modules to import first, joined by commas, such as one that registers your own environment family."""


def main(arguments: list[str]) -> None:
    args = tyro.cli(Compare, prog="compare.py", args=arguments, config=(tyro.conf.OmitArgPrefixes,))
    output, known = args.output, args.output.suffix in (".md", ".html")
    require(known, f"The output's name must end in .md or .html, and {str(output)!r} does not.")
    check_output(output.with_suffix(".json"), ["comparisons", "methods"])
    runs = [read_run(path, args.split) for path in args.run_dirs]
    if args.embed:
        check_embedding(args.run_dirs)
    groups = [group(alike) for alike in by_environment(runs) or [[]]]
    results = [compare(methods) for methods in groups]
    several = len(results) > 1
    require(several or args.step is None, "--step is for runs on several environments, and these are on one.")
    require(args.step is None or args.step >= 0, f"--step must be at least 0, not {args.step}.")
    overview = overview_sheet(results, args.step) if several else None
    parts = [part(result, methods, output.parent, args.embed) for result, methods in zip(results, groups, strict=True)]
    mixed = len({method["unit"] for result in results for method in result["methods"]}) > 1
    notes = [LEGEND, *([EXPERIENCE] * mixed), *dict.fromkeys(note for result in results for note in result["notes"])]
    output.parent.mkdir(parents=True, exist_ok=True)
    page, text, numbers, picture = (output.with_suffix(suffix) for suffix in (".html", ".md", ".json", ".png"))
    plot_comparisons(results, picture)
    content = {"comparisons": results} if several else results[0]
    for file, written in {
        numbers: json.dumps(content, indent=1) + "\n",
        text: markdown_report(parts, picture, notes, overview),
        page: html_report(parts, charts(results, groups), notes, overview),
    }.items():
        write_atomically(file, partial(Path.write_text, data=written, encoding="utf-8"))
    for sheet in [*([overview] if overview else []), *(sheet for one in parts for sheet in one.sheets)]:
        show(sheet.rich(whole=full_width()))
    for note in notes:
        print(note)
    print(f"Wrote {page}, {text}, {picture} and {numbers}")


if __name__ == "__main__":
    run_main(main)
