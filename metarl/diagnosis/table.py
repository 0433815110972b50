"""A diagnosis in words: a sentence, and a table with a row for each finding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from metarl.diagnosis.findings import short

STYLES = {"ok": "green", "note": "yellow", "problem": "bold red", "does not apply": "dim"}


def heading(result: Mapping[str, Any]) -> str:
    """The verdict of a diagnosis and what was played, as two lines of rich's markup."""
    played = f"{result['num_envs']} episode{'s' * (result['num_envs'] != 1)} a task and stage"
    tasks = f"{result['num_tasks']} {result['split']} tasks of {result['env']}"
    done = f"{result['preset']} after {result['iteration']} meta-iterations"
    verdict = f"[{STYLES[result['verdict']]}]{escape(result['sentence'])}[/]"
    return f"{verdict}\n[dim]{escape(f'{done}, on {tasks}, {played}')}[/dim]\n"


def findings_table(result: Mapping[str, Any]) -> Table:
    """A row for each finding of a diagnosis that `diagnose_run` made."""
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


def evidence(numbers: Mapping[str, Any]) -> str:
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
