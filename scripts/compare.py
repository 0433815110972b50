"""Compare methods on the same held-out tasks: prints tables, writes them as Markdown and JSON, and a figure as PNG."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from envs.errors import require
from metarl.cli import run_main
from metarl.compare import compare, overview
from metarl.evaluated import by_environment, group, read_run
from metarl.files import write_atomically
from metarl.plot import number, plot_comparison, plot_comparisons

LEGEND = "IQM: interquartile mean over runs and tasks, 95 % bootstrap intervals (Agarwal et al. 2021); train s: median."


@dataclass(frozen=True)
class Compare:
    """Compare methods on the same held-out tasks: prints tables, writes them as Markdown and JSON, a figure as PNG.

    Runs that differ in the seed alone are one method, aggregated as in Agarwal et al. 2021. Runs on several
    environments are compared on each, under one table of all methods on all of them.
    """

    run_dirs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders that evaluate.py has evaluated; the others are measured against the method of the first."""
    step: int | None = None
    """Number of adaptation steps in the table of all environments; by default the last that was evaluated."""
    split: str = "test"
    """Which evaluation to compare: evaluation-SPLIT.json of each folder."""
    output: Path = Path("compare.md")
    """The Markdown file; JSON and PNG go beside it."""


@dataclass(frozen=True)
class Sheet:
    """A table whose cells may have a second line: the interval."""

    title: str
    header: list[str]
    rows: list[list[str]]
    num_dim: int = 0  # references among the last rows

    def rich(self) -> Table:
        out = Table(title=self.title, box=SIMPLE, padding=(0, 1))
        for k, name in enumerate(self.header):
            out.add_column(name, justify="right" if k else "left", no_wrap=k > 0)
        for k, row in enumerate(self.rows):
            out.add_row(*row, style="dim" if k >= len(self.rows) - self.num_dim else None)
        return out

    def markdown(self) -> str:
        lines = [self.header, [":--", *["--:"] * (len(self.header) - 1)], *self.rows]
        joined = [" | ".join(line).replace("\n", "<br>") for line in lines]
        return "\n".join([f"**{self.title}**\n", *(f"| {line} |" for line in joined), ""])


def overview_sheet(results: Sequence[dict[str, Any]], step: int | None) -> Sheet:
    """Methods by environments: the IQM after one number of adaptation steps."""
    rows = [
        [name, *("–" if entry is None else cells([entry["value"]], [entry["ci95"]], 1)[0] for entry in row)]
        for name, row in overview(results, step).items()
    ]
    num_methods = len({method["method"] for result in results for method in result["methods"]})
    after = "the last adaptation step" if step is None else f"{step} adaptation step{'s' if step != 1 else ''}"
    header = ["method", *(result["env"] for result in results)]
    return Sheet(f"IQM of the return after {after}", header, rows, len(rows) - num_methods)


def cells(values: Sequence[float], intervals: Sequence[Sequence[float]], count: int) -> list[str]:
    """`count` cells of a value above its interval; dashes where a method has fewer steps."""

    def short(x: float) -> str:
        return number(x, 2 if abs(x) < 100 else 1)

    out = [f"{short(v)}\n{short(low)} … {short(high)}" for v, (low, high) in zip(values, intervals, strict=True)]
    return out + ["–"] * (count - len(out))


def sheets(result: dict[str, Any]) -> list[Sheet]:
    """The IQM and what each method took; the mean; the probability of improvement over the first method."""
    methods, references = result["methods"], result["references"]
    count = max(len(m["iqm"]) for m in methods)
    steps = [f"{k} step{'s' if k != 1 else ''}" for k in range(count)]
    iqm, mean, better = [], [], []
    for m in methods:
        facts = [m["name"], str(len(m["seeds"])), f"{m['env_steps']:,}", f"{m['train_seconds']:.0f}"]
        iqm.append([*facts, *cells(m["iqm"], m["ci95"], count)])
        mean.append([m["name"], *cells(m["mean"], m["mean_ci95"], count)])
        if "improvement" in m:
            better.append([m["name"], *cells(m["improvement"], m["improvement_ci95"], count)])
    for name, r in references.items():  # they do not adapt
        if "iqm" in r:
            iqm.append([name, "–", "–", "–", *cells([r["iqm"]] * count, [r["iqm_ci95"]] * count, count)])
        mean.append([name, *cells([r["mean"]] * count, [r["ci95"]] * count, count)])
    title = f"{result['env']}: IQM of the return on {result['num_tasks']} {result['split']} tasks, {result['unit']}"
    out = [
        Sheet(title, ["method", "seeds", "env steps", "train s", *steps], iqm, len(iqm) - len(methods)),
        Sheet("Mean of the return", ["method", *steps], mean, len(references)),
        Sheet(f"Probability of improvement over {methods[0]['name']}", ["method", *steps], better),
    ]
    return out if better else out[:2]


def main(arguments: list[str]) -> None:
    args = tyro.cli(Compare, prog="compare.py", args=arguments, config=(tyro.conf.OmitArgPrefixes,))
    output = args.output
    require(output.suffix == ".md", f"The output's name must end in .md, and {str(output)!r} does not.")
    runs = [read_run(path, args.split) for path in args.run_dirs]
    results = [compare(group(part)) for part in by_environment(runs) or [[]]]
    several = len(results) > 1
    require(several or args.step is None, "--step is for runs on several environments, and these are on one.")
    tables = [sheet for result in results for sheet in sheets(result)]
    if several:
        tables.insert(0, overview_sheet(results, args.step))
    notes = [LEGEND, *dict.fromkeys(note for result in results for note in result["notes"])]
    console = Console(width=None if sys.stdout.isatty() else 160)
    for sheet in tables:
        console.print(sheet.rich())
    for note in notes:
        print(note)
    output.parent.mkdir(parents=True, exist_ok=True)
    numbers, picture = output.with_suffix(".json"), output.with_suffix(".png")
    picture = plot_comparisons(results, picture) if several else plot_comparison(results[0], picture)
    content = {"comparisons": results} if several else results[0]
    write_atomically(numbers, lambda path: path.write_text(json.dumps(content, indent=1) + "\n"))
    parts = [tables[0].markdown(), f"![Adaptation curves]({picture.name})\n", *(t.markdown() for t in tables[1:])]
    text = "\n".join([*parts, "\n".join(f"- {note}" for note in notes), ""])
    write_atomically(output, lambda path: path.write_text(text))
    print(f"Wrote {output}, {picture} and {numbers}")


if __name__ == "__main__":
    run_main(main)
