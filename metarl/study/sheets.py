"""The tables of a comparison, for the terminal, for Markdown and for HTML."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from metarl.figures.appearance import labels
from metarl.figures.plot import number
from metarl.study.compare import overview

FEW_COLUMNS = 6
"""Stages that fit a terminal; of more, the first and the last are shown there."""


@dataclass(frozen=True)
class Sheet:
    """A table whose cells may have further lines: the interval, and what else there is to say."""

    title: str
    header: list[str]
    rows: list[list[str]]
    num_dim: int = 0  # references among the last rows
    num_facts: int = 1  # columns in front of the stages

    def rich(self, whole: bool = False) -> Any:
        """A `rich.table.Table`. Unless it should be the whole, it leaves some of many stages out, and says so."""
        from rich.box import SIMPLE
        from rich.table import Table
        from rich.text import Text

        left_out = range(0) if whole else range(self.num_facts + FEW_COLUMNS - 2, len(self.header) - 2)
        out = Table(title=Text(self.title), box=SIMPLE, padding=(0, 1))
        if left_out:
            out.caption = f"…: {len(left_out)} more stages, which the report's files have"
        for k, name in enumerate(self.header):
            if k not in left_out:
                out.add_column(Text(name), justify="right" if k else "left", no_wrap=k > 0)
            elif k == left_out[0]:
                out.add_column("…")
        for k, row in enumerate(self.rows):
            cells = [Text(cell) for j, cell in enumerate(row) if j not in left_out]
            if left_out:
                cells.insert(left_out[0], Text(""))
            out.add_row(*cells, style="dim" if k >= len(self.rows) - self.num_dim else None)
        return out

    def markdown(self) -> str:
        lines = [self.header, [":--", *["--:"] * (len(self.header) - 1)], *self.rows]
        joined = [" | ".join(markdown_text(cell).replace("\n", "<br>") for cell in line) for line in lines]
        return "\n".join([f"**{markdown_text(self.title)}**\n", *(f"| {line} |" for line in joined), ""])


def markdown_text(text: str) -> str:
    """Text that a table's cell shows as it is."""
    return html.escape(text, quote=False).replace("|", "\\|")


def overview_sheet(results: Sequence[Mapping[str, Any]], step: int | None) -> Sheet:
    """Methods by environments: the IQM in one stage of adaptation."""
    table = overview([dict(result) for result in results], step)
    entries = [entry for row in table.values() for entry in row if entry is not None]
    differ = len({entry["stage"] for entry in entries if entry["stage"]}) > 1
    named = labels([method["method"] for result in results for method in result["methods"]])
    rows = [[named.get(name, name), *(_overview_cell(entry, differ) for entry in row)] for name, row in table.items()]
    units = {method["unit"] for result in results for method in result["methods"]}
    whens = [_when(step, unit) for unit in sorted(units, reverse=True)]
    title = f"IQM of the return {', or '.join(whens)}"
    return Sheet(title, ["method", *(result["env"] for result in results)], rows, len(rows) - len(named))


def _when(step: int | None, unit: str) -> str:
    if unit == "episodes":
        return "in the last episode of a trial" if step is None else f"in episode {step + 1} of a trial"
    return f"after {'the last adaptation step' if step is None else counted(step, 'adaptation step')}"


def _overview_cell(entry: Mapping[str, Any] | None, with_stage: bool) -> str:
    if entry is None:
        return "–"
    return cell(entry["value"], entry["ci95"], entry["stage"] if with_stage else None)


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def cell(value: float, interval: Sequence[float], note: str | None = None) -> str:
    """A value above its interval."""

    def short(x: float) -> str:
        return number(x, 2 if abs(x) < 100 else 1)

    return f"{short(value)}\n{short(interval[0])} … {short(interval[1])}" + (f"\n{note}" if note else "")


def cells(numbers: Mapping[str, Any], key: str, notes: Sequence[str] = ()) -> list[str]:
    """Of each stage: `iqm`, `mean` or `improvement`; a dash where there is none."""
    intervals = numbers[{"iqm": "ci95"}.get(key, f"{key}_ci95")]
    return [
        "–" if value is None else cell(value, interval, note)
        for value, interval, note in zip_longest(numbers[key], intervals, notes[: len(intervals)])
    ]


def sheets(result: Mapping[str, Any]) -> list[Sheet]:
    """The IQM and what each method took; the mean; the return of trials; the probability of improvement."""
    named = labels([method["name"] for method in result["methods"]])
    result = {**result, "methods": [{**method, "name": named[method["name"]]} for method in result["methods"]]}
    if len({method["unit"] for method in result["methods"]}) > 1:
        return mixed_sheets(result)
    methods, references = result["methods"], result["references"]
    stages, places = columns(methods)
    iqm, mean, better = [], [], []
    for m, own in zip(methods, places, strict=True):
        iqm.append([m["name"], *facts(m), *_spread(cells(m, "iqm"), own, len(stages))])
        mean.append([m["name"], *_spread(cells(m, "mean"), own, len(stages))])
        if "improvement" in m:
            better.append([m["name"], *_spread(cells(m, "improvement"), own, len(stages))])
    for name, r in references.items():
        for rows, key, blanks in ((iqm, "iqm", ["–"] * 3), (mean, "mean", [])):
            if found := _reference_cells(r, key, len(stages), result["unit"]):
                rows.append([name, *blanks, *found])
    what = {"episodes": "by episode of the trial" if len(stages) > 1 else "of whole trials"}
    title = f"{_title(result, 'IQM of the return')}, {what.get(result['unit'], result['unit'])}"
    out = [
        Sheet(title, ["method", "seeds", "env steps", "train s", *stages], iqm, len(iqm) - len(methods), 4),
        Sheet("Mean of the return", ["method", *stages], mean, len(mean) - len(methods)),
        *trial_sheets(result),
    ]
    if better:
        out.append(Sheet(f"Probability of improvement over {methods[0]['name']}", ["method", *stages], better))
    return out


def mixed_sheets(result: Mapping[str, Any]) -> list[Sheet]:
    """Where some methods adapt by gradient steps and others in the episodes of a trial.

    First what each begins and ends with; then stage by stage, where each cell says after how many episodes it comes.
    """
    methods, references = result["methods"], result["references"]
    count = max(len(m["stages"]) for m in methods)
    best = methods[0]["name"]
    first_last, tables = [], {"iqm": [], "mean": []}  # type: ignore[var-annotated]
    for m in methods:
        shown = cells(m, "iqm", m["stages"])
        better = cell(m["last_improvement"], m["last_improvement_ci95"]) if "last_improvement" in m else "–"
        first_last.append([m["name"], *facts(m), shown[0], shown[-1], str(m["episodes_before"][-1]), better])
        notes = [_experience(m, k) for k in range(len(m["stages"]))]
        for key, rows in tables.items():
            rows.append([m["name"], *_spread(cells(m, key, notes), range(count), count)])
    for name, r in references.items():
        for key, rows in tables.items():
            if found := _reference_stages(r, key, with_notes=True):
                rows.append([name, *_spread(found[:count], range(count), count)])
        if found := _reference_stages(r, "iqm"):
            first_last.append([name, "–", "–", "–", found[0], found[-1], str(len(found) - 1), "–"])
    header = ["method", "seeds", "env steps", "train s", "first", "last", "episodes before the last"]
    ordinals = [f"stage {k}" for k in range(1, count + 1)]
    title, dim = _title(result, "IQM of the return"), len(first_last) - len(methods)
    return [
        Sheet(
            f"{title}, first and last stage", [*header, f"P(last better than {best}’s)"],
            first_last, dim, len(header) + 1,
        ),
        *trial_sheets(result),
        Sheet(f"{title}, stage by stage", ["method", *ordinals], tables["iqm"], dim),
        Sheet(
            "Mean of the return, stage by stage", ["method", *ordinals], tables["mean"],
            len(tables["mean"]) - len(methods),
        ),
    ]  # fmt: skip


def trial_sheets(result: Mapping[str, Any]) -> list[Sheet]:
    """The return of whole trials: a table for each length that some memory was trained for."""
    methods, references = result["methods"], result["references"]
    lengths = dict.fromkeys(length for m in methods for length in m["trials"])
    return [_trial_sheet(length, methods, references) for length in lengths]


def _trial_sheet(length: str, methods: Sequence[Mapping[str, Any]], references: Mapping[str, Any]) -> Sheet:
    rows = []
    having = [(m["name"], m["trials"][length]) for m in methods if length in m["trials"]]
    told = [(name, r["trials"][length]) for name, r in references.items() if length in r["trials"]]
    for name, t in [*having, *told]:
        better = cell(t["improvement"], t["improvement_ci95"]) if "improvement" in t else "–"
        rows.append([name, cell(t["iqm"], t["iqm_ci95"]), cell(t["mean"], t["ci95"]), better])
    header = ["method", "IQM", "mean", f"P(better than {having[0][0]})"]
    if all(row[-1] == "–" for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return Sheet(f"Return of a whole trial: the sum of {length} episodes", header, rows, len(told), len(header))


def facts(method: Mapping[str, Any]) -> list[str]:
    """Seeds, environment steps and seconds."""
    return [str(len(method["seeds"])), f"{method['env_steps']:,}", f"{method['train_seconds']:.0f}"]


def columns(methods: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[int]]]:
    """Names of the stages of methods with one unit, and for each method the columns of its own.

    The episodes of the longest trial come first, then refinements.
    """
    if methods[0]["unit"] != "episodes":
        longest = max(methods, key=lambda m: len(m["stages"]))["stages"]
        return longest, [list(range(len(m["stages"]))) for m in methods]
    episodes = max(m["num_episodes"] for m in methods)
    refined = max(len(m["stages"]) - m["num_episodes"] for m in methods)
    names = [*(f"episode {k + 1}" for k in range(episodes)), *(f"refined {k + 1}×" for k in range(refined))]
    places = [
        [*range(m["num_episodes"]), *range(episodes, episodes + len(m["stages"]) - m["num_episodes"])] for m in methods
    ]
    return ["whole trial"] if len(names) == 1 else names, places


def _title(result: Mapping[str, Any], what: str) -> str:
    return f"{result['env']}: {what} on {result['num_tasks']:,} {result['split']} tasks"


def _spread(values: Sequence[str], places: Sequence[int], count: int) -> list[str]:
    """`count` cells, of which `values` stand in `places`."""
    at = dict(zip(places, values, strict=False))
    return [at.get(k, "–") for k in range(count)]


def _experience(method: Mapping[str, Any], k: int) -> str:
    """What a method has behind it in stage k."""
    refined = f", {method['stages'][k]}" if "refined" in method["stages"][k] else ""
    return f"after {counted(method['episodes_before'][k], 'episode')}{refined}"


def _reference_cells(reference: Mapping[str, Any], key: str, count: int, unit: str) -> list[str]:
    """Cells below the stages of one unit: the episodes of a trial, or the figure of an episode again and again."""
    if unit == "episodes" and reference["trials"]:
        return _spread(cells(reference["curve"], key), range(count), count) if key in reference["curve"] else []
    if key not in reference:
        return []
    return [cell(reference[key], reference[{"iqm": "iqm_ci95", "mean": "ci95"}[key]])] * count


def _reference_stages(reference: Mapping[str, Any], key: str, with_notes: bool = False) -> list[str]:
    """The episodes of a trial, or of the first episode alone where none was evaluated; empty without such a figure."""
    curve = reference.get("curve", {})
    if key in curve:
        return cells(curve, key, [f"after {counted(k, 'episode')}" for k in curve["episodes_before"]] * with_notes)
    if key not in reference:
        return []
    note = "after 0 episodes" if with_notes else None
    return [cell(reference[key], reference[{"iqm": "iqm_ci95", "mean": "ci95"}[key]], note)]
