"""Evaluations as tables: the adaptation curve beside the references, and the returns of references alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from metarl.evaluation.curve import stages_of
from metarl.figures.appearance import title


def number(x: float) -> str:
    return f"{x:.2f}" if abs(x) < 100 else f"{x:.1f}"


def interval(bounds: tuple[float, float]) -> str:
    return " … ".join(map(number, bounds))


def evaluation_table(result: Mapping[str, Any]) -> Table:
    """A row for each stage of adaptation and for each reference of an evaluation that `evaluate_run` made, and one for
    the most probable actions where these were played.
    """
    stages = stages_of(result)
    tasks = f"{result['num_tasks']} {result['split']} tasks"
    heading = f"{title(result['preset'], result['env'])}: return on {tasks}, iteration {result['iteration']}"
    caption = f"steps: {stages.unit}; IQM: interquartile mean; intervals: over tasks"
    out = Table(title=escape(heading), caption=caption, box=SIMPLE, padding=(0, 1))
    out.add_column("policy")
    for name in ("mean", "95 % of mean", "IQM", "95 % of IQM", "std"):
        out.add_column(name, justify="right")
    a = result["adaptation"]
    columns = (a["mean"], a["mean_ci95"], a["iqm"], a["iqm_ci95"], a["std"])
    for name, mean, mean_ci95, iqm, iqm_ci95, std in zip(stages.names, *columns, strict=True):
        out.add_row(name, number(mean), interval(mean_ci95), number(iqm), interval(iqm_ci95), number(std))
    greedy = result.get("greedy")
    if greedy and stages.episodes == 1:
        out.add_row(f"{stages.names[-1]}, greedy", *_estimated(greedy))
    out.add_section()
    for name, reference in result["references"].items():
        out.add_row(escape(name), number(reference["mean"]), interval(reference["mean_ci95"]), style="dim")
    if stages.episodes > 1:
        out.add_section()
        out.add_row("whole trial", *_estimated(result["trial"]))
        if greedy:
            out.add_row("whole trial, greedy", *_estimated(greedy["trial"]))
        for name, reference in result["references"].items():
            out.add_row(escape(f"{name}, whole trial"), *_estimated(reference["trial"]), style="dim")
    return out


def scores_table(result: Mapping[str, Any]) -> Table:
    """The same rows with the scores of the family, means over tasks. `result["scores"]` must not be empty."""
    scores = result["scores"]
    out = Table(title=escape(f"{title(result['preset'], result['env'])}: scores"), box=SIMPLE, padding=(0, 1))
    out.add_column("policy")
    for name in scores:
        out.add_column(escape(name), justify="right")
    means = zip(*(score["adaptation"]["mean"] for score in scores.values()), strict=True)
    for name, row in zip(stages_of(result).names, means, strict=True):
        out.add_row(name, *map("{:.3f}".format, row))
    out.add_section()
    for name in result["references"]:
        row = tuple(score["references"][name]["mean"] for score in scores.values())
        out.add_row(escape(name), *map("{:.3f}".format, row), style="dim")
    return out


def _estimated(x: Mapping[str, Any]) -> tuple[str, ...]:
    return number(x["mean"]), interval(x["mean_ci95"]), number(x["iqm"]), interval(x["iqm_ci95"])
