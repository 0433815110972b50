"""The tables of a comparison, for the terminal, for Markdown and for HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metarl.evaluation.estimate import Estimate
from metarl.figures.appearance import labels
from metarl.figures.plot import number
from metarl.study.compare import Comparison, Improvement, counted_seeds
from metarl.study.methods import Method

FACTS = ["method", "seeds", "env steps", "train s"]


@dataclass(frozen=True)
class Sheet:
    """A table whose cells may have further lines: the interval, and what else there is to say.

    The last `num_dim` rows are those of references.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    num_dim: int = 0

    @classmethod
    def of(cls, title: str, header: Sequence[str], rows: Sequence[Mapping[str, str]], num_dim: int = 0) -> Sheet:
        """Rows by the names of their columns; a dash where a row has none."""
        return cls(title, [*header], [[row.get(name, "–") for name in header] for row in rows], num_dim)

    def rich(self) -> Any:
        """A `rich.table.Table`."""
        from rich.box import SIMPLE
        from rich.table import Table
        from rich.text import Text

        out = Table(title=Text(self.title), box=SIMPLE, padding=(0, 1))
        for k, name in enumerate(self.header):
            out.add_column(Text(name), justify="right" if k else "left", no_wrap=k > 0)
        for k, row in enumerate(self.rows):
            out.add_row(*map(Text, row), style="dim" if k >= len(self.rows) - self.num_dim else None)
        return out

    def markdown(self) -> str:
        lines = [self.header, [":--", *["--:"] * (len(self.header) - 1)], *self.rows]
        joined = [" | ".join(markdown_text(cell).replace("\n", "<br>") for cell in line) for line in lines]
        return "\n".join([f"**{markdown_text(self.title)}**\n", *(f"| {line} |" for line in joined), ""])


def markdown_text(text: str) -> str:
    """Text that a table's cell shows as it is."""
    return html.escape(text, quote=False).replace("|", "\\|")


def overview(comparisons: Sequence[Comparison]) -> dict[str, list[tuple[str | None, Estimate] | None]]:
    """Every method, and every reference that all environments have, in its last stage of adaptation.

    Returns:
        By short name, for each environment the name of the stage and the estimate, or None where it was not run.
    """
    rows: dict[str, list[tuple[str | None, Estimate] | None]] = {}
    for k, comparison in enumerate(comparisons):
        for method in comparison.methods:
            row = rows.setdefault(method.short, [None] * len(comparisons))
            row[k] = method.run.stage_names[-1], method.adaptation[-1]
    for name in comparisons[0].references:
        if all(name in comparison.references for comparison in comparisons):
            found = [comparison.references[name] for comparison in comparisons]
            rows[name] = [(f"episode {len(r.curve.mean)}" if r.curve else None, r.adaptation[-1]) for r in found]
    return rows


def overview_sheet(comparisons: Sequence[Comparison]) -> Sheet:
    """Methods by environments: the IQM in the last stage of adaptation."""
    table = overview(comparisons)
    stages = {entry[0] for row in table.values() for entry in row if entry is not None} - {None}
    named = labels([method.short for comparison in comparisons for method in comparison.methods])

    def shown(entry: tuple[str | None, Estimate] | None) -> str:
        return "–" if entry is None else estimate_cell(entry[1], "iqm", entry[0] if len(stages) > 1 else None)

    rows = [[named.get(name, name), *map(shown, row)] for name, row in table.items()]
    whens = {False: "after the last adaptation step", True: "in the last episode of a trial"}
    kinds = {method.run.stages.trial for comparison in comparisons for method in comparison.methods}
    seeds = counted_seeds([method for comparison in comparisons for method in comparison.methods])
    title = f"IQM of the return {', or '.join(whens[trial] for trial in sorted(kinds))}, {seeds}"
    return Sheet(title, ["method", *(comparison.env for comparison in comparisons)], rows, len(rows) - len(named))


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def cell(value: float, interval: Iterable[float], note: str | None = None) -> str:
    """A value above its interval."""

    def short(x: float) -> str:
        return number(x, 2 if abs(x) < 100 else 1)

    return f"{short(value)}\n{' … '.join(map(short, interval))}" + (f"\n{note}" if note else "")


def estimate_cell(estimate: Estimate, key: str, note: str | None = None) -> str:
    """Its `iqm` or `mean`."""
    return cell(float(getattr(estimate, key)), getattr(estimate, f"{key}_ci95"), note)


def estimate_cells(estimate: Estimate, key: str, notes: Sequence[str | None] = ()) -> list[str]:
    """The same for each stage."""
    notes = notes or [None] * len(estimate.mean)
    return [estimate_cell(estimate[k], key, note) for k, note in enumerate(notes)]


def improvement_cell(improvement: Improvement | None) -> str:
    return "–" if improvement is None else cell(*improvement)


def columns(methods: Sequence[Method]) -> list[str]:
    """Names of the stages of methods of one kind; a method has the first of them."""
    return max((method.run.stage_names for method in methods), key=len)


def sheets(comparison: Comparison) -> list[Sheet]:
    """The IQM and what each method took; the mean; the return of trials; the probability of improvement."""
    if comparison.mixed:
        return mixed_sheets(comparison)
    c, methods = comparison, comparison.methods
    stages = columns(methods)
    tables: dict[str, list[dict[str, str]]] = {"iqm": [], "mean": [], "improvement": []}
    for method in methods:
        front = _front(c, method)
        for key in ("iqm", "mean"):
            tables[key].append(front | dict(zip(stages, estimate_cells(method.adaptation, key), strict=False)))
        if method.name in c.improvements:
            better = map(improvement_cell, c.improvements[method.name])
            tables["improvement"].append(front | dict(zip(stages, better, strict=False)))
    for name, reference in c.references.items():
        for key in ("iqm", "mean"):
            if c.trials_only and reference.curve is not None:
                cells = estimate_cells(reference.curve, key)
            else:  # it does not learn from gradient steps
                cells = [estimate_cell(reference.episode, key)] * len(stages)
            tables[key].append({"method": name, **dict(zip(stages, cells, strict=False))})
    what = "by episode of the trial" if len(stages) > 1 else "of whole trials"
    title = f"{_title(c)}, {what if c.trials_only else methods[0].run.stages.unit}"
    num_dim = len(c.references)
    out = [
        Sheet.of(title, [*FACTS, *stages], tables["iqm"], num_dim),
        Sheet.of(f"Mean of the return, {c.seeds}", ["method", *stages], tables["mean"], num_dim),
        *trial_sheets(c),
    ]
    if len(methods) > 1:
        title = f"Probability of improvement over {c.labels[methods[0].short]}, {c.seeds}"
        out.append(Sheet.of(title, ["method", *stages], tables["improvement"]))
    return out


def mixed_sheets(comparison: Comparison) -> list[Sheet]:
    """Where some methods adapt by gradient steps and others in the episodes of a trial.

    First what each begins and ends with; then stage by stage, where each cell says after how many episodes it comes.
    """
    c, methods = comparison, comparison.methods
    ordinals = [f"stage {k + 1}" for k in range(max(len(method.run.stages) for method in methods))]
    better = f"P(last better than {c.labels[methods[0].short]}’s)"
    first_last: list[dict[str, str]] = []
    tables: dict[str, list[dict[str, str]]] = {"iqm": [], "mean": []}

    def add(front: dict[str, str], of: Estimate, before: list[int], names: list[str], improvement: Improvement | None):
        shown = estimate_cells(of, "iqm", names)
        ends = {"first": shown[0], "last": shown[-1], "episodes before the last": str(before[-1])}
        first_last.append(front | ends | {better: improvement_cell(improvement)})
        notes = [f"after {counted(n, 'episode')}" for n in before]
        for key, rows in tables.items():
            rows.append(front | dict(zip(ordinals, estimate_cells(of, key, notes), strict=False)))

    for method in methods:
        run, improvement = method.run, c.last_improvements.get(method.name)
        add(_front(c, method), method.adaptation, run.episodes_before, run.stage_names, improvement)
    for name, r in c.references.items():
        add({"method": name}, r.adaptation, list(range(len(r.adaptation.mean))), [], None)
    header = [*FACTS, "first", "last", "episodes before the last", better]
    num_dim = len(c.references)
    return [
        Sheet.of(f"{_title(c)}, first and last stage", header, first_last, num_dim),
        *trial_sheets(c),
        Sheet.of(f"{_title(c)}, stage by stage", ["method", *ordinals], tables["iqm"], num_dim),
        Sheet.of(f"Mean of the return, {c.seeds}, stage by stage", ["method", *ordinals], tables["mean"], num_dim),
    ]


def trial_sheets(c: Comparison) -> list[Sheet]:
    """The return of whole trials: a table for each length that some memory was trained for."""
    out = []
    for length, returns in c.trials.items():
        own = [(c.labels[m.short], *returns[m.name]) for m in c.methods if m.name in returns]
        told = [(name, r.trials[length], None) for name, r in c.references.items() if length in r.trials]
        header = ["method", "IQM", "mean", f"P(better than {own[0][0]})"]
        rows = [
            [name, *(estimate_cell(of, key) for key in ("iqm", "mean")), improvement_cell(p)]
            for name, of, p in own + told
        ]
        if len(own) == 1:
            header, rows = header[:-1], [row[:-1] for row in rows]
        title = f"Return of a whole trial: the sum of {length} episodes, {c.seeds}"
        out.append(Sheet(title, header, rows, len(told)))
    return out


def _front(c: Comparison, method: Method) -> dict[str, str]:
    """Label, seeds, environment steps and seconds."""
    facts = c.labels[method.short], len(method.runs), f"{method.env_steps:,}", f"{method.train_seconds:.0f}"
    return dict(zip(FACTS, map(str, facts), strict=True))


def _title(c: Comparison) -> str:
    return f"{c.env}: IQM of the return on {c.tasks['num_tasks']:,} {c.tasks['split']} tasks, {c.seeds}"
