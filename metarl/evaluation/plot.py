"""The adaptation curve of an evaluation as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import require
from metarl.algorithms.base import Stages
from metarl.evaluation.curve import stages_of
from metarl.evaluation.estimate import Estimate
from metarl.figures.appearance import DASHES, INK, MUTED, looks, mix, title
from metarl.figures.plot import Named, connect_names, curve_limits, save_png, style_axes

MAX_TASK_CURVES = 60


def plot_curve(evaluation: Mapping[str, Any], path: str | Path) -> Path:
    """Draw an evaluation's adaptation curve as a PNG.

    Of gradient steps: the interquartile mean over tasks with its 95% interval, the mean, single tasks and the reference
    policies. Of a trial: see `draw_trial`. The vertical axis is made for the learned curve; a reference far outside it
    is named at the edge with its value.

    Args:
        evaluation: with the keys `env`, `preset`, `split`, `num_tasks`, `iteration`, `seed`, and those that
            `metarl.evaluation.curve.summarize` returns.
        path: ends in .png; its folder is made.

    Returns:
        The path.

    Raises:
        InputError: for another suffix or a place that cannot be written.
    """
    from matplotlib.figure import Figure

    path = Path(path)
    require(path.suffix == ".png", f"A plot's name must end in .png, and {str(path)!r} does not.")
    figure = Figure(figsize=(7.6, 4.8), dpi=150, facecolor="white")
    axes = figure.add_axes((0.1, 0.13, 0.66, 0.7))
    draw_curve(axes, evaluation)
    e = evaluation
    figure.text(0.1, 0.93, title(e["preset"], e["env"]), fontsize=13, weight="bold", color=INK)
    note = f"{e['num_tasks']} {e['split']} tasks · iteration {e['iteration']} · seed {e['seed']}"
    figure.text(0.1, 0.875, note, fontsize=9.5, color=MUTED)
    return save_png(figure, path)


def draw_curve(axes: Any, evaluation: Mapping[str, Any]) -> None:
    """The same on Matplotlib axes, without titles."""
    stages, references = stages_of(evaluation), evaluation["references"]
    if stages.trial:
        draw_trial(axes, evaluation, stages)
        return
    look = looks([evaluation["preset"]])[evaluation["preset"]]
    curve = Estimate.from_json(evaluation["adaptation"], len(stages))
    levels = [Named(reference["mean"], len(stages) - 1, name, MUTED) for name, reference in references.items()]
    steps, (low, high) = np.arange(len(stages)), curve.iqm_ci95.T
    tasks = np.asarray(evaluation["per_task"], dtype=float).reshape(-1, len(stages))
    limits = curve_limits(tasks, [curve.mean, curve.iqm, low, high], [level.value for level in levels])
    axes.set_ylim(*limits)

    shown = tasks[:: -(-len(tasks) // MAX_TASK_CURVES)]
    outside = int(((shown < limits[0]) | (shown > limits[1])).any(1).sum())
    label = "single tasks" if len(shown) == len(tasks) else f"{len(shown)} of the {len(tasks)} tasks"
    label += f" ({outside} beyond the axis)" if outside else ""
    for k, row in enumerate(shown):
        axes.plot(steps, row, color="#cbd2db", lw=0.8, zorder=1.5, label=None if k else label)
    thick: dict[str, Any] = {"marker": look.mark, "color": look.colour, "lw": 2.4, "ms": 6, "mec": "white", "mew": 1}
    band = {"color": look.colour, "alpha": 0.22, "lw": 0, "zorder": 1.8}
    axes.fill_between(steps, low, high, label="95% interval over tasks, of the IQM", **band)
    axes.plot(steps, curve.mean, color=INK, lw=1.2, ls=(0, (4, 3)), label="mean")
    axes.plot(steps, curve.iqm, label="interquartile mean (IQM)", **thick)
    for reference in references.values():
        axes.axhline(reference["mean"], color=MUTED, lw=1, ls=":")
        axes.axhspan(*reference["mean_ci95"], color=MUTED, alpha=0.12, lw=0)
    style_axes(axes, limits, len(steps), stages.unit)
    connect_names(axes, levels)
    below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.12), "ncols": 2}
    axes.legend(fontsize=8, edgecolor="none", labelcolor=INK, **below)


def draw_trial(axes: Any, evaluation: Mapping[str, Any], stages: Stages) -> None:
    """What a policy with a memory and each reference get in the course of a trial: means over tasks.

    By episode, with 95% intervals. Where a trial is one episode, by its steps; the numbers beside the names are then
    returns of the whole trial.
    """
    from matplotlib.ticker import MaxNLocator

    e, by_step = evaluation, stages.num_episodes == 1
    of = e["trial"]["curve"] if by_step else e["adaptation"]
    mean, band = np.asarray(of["mean"]), np.asarray(of["mean_ci95"])
    curves = {name: r["trial"]["curve"] for name, r in e["references"].items()}
    inside = [mean, band.ravel(), *([] if by_step else [np.asarray(of["iqm"])])]
    axes.set_ylim(*curve_limits(band, inside, [y for curve in curves.values() for y in curve["mean"]], reach=3))

    names: list[Named] = []
    for k, (name, curve) in enumerate(curves.items()):
        colour, y = mix(MUTED, INK, 0.6 * (k % 2)), curve["mean"]
        x = 1 + np.arange(len(y))
        if not by_step:
            axes.fill_between(x, *np.transpose(curve["mean_ci95"]), color=colour, alpha=0.1, lw=0, zorder=1.5)
        axes.plot(x, y, color=colour, lw=1.1, ls=DASHES[1 + k % 3], label=f"_{name}")
        names.append(Named(y[-1], x[-1], name, colour))
    own, x = looks([e["preset"]])[e["preset"]], 1 + np.arange(len(mean))
    axes.fill_between(x, *band.T, color=own.colour, alpha=0.22, lw=0, zorder=1.8, label="95% interval over tasks")
    thick: dict[str, Any] = {"color": own.colour, "lw": 2.4, "ms": 6, "mec": "white", "mew": 1}
    axes.plot(x, mean, marker="" if by_step else own.mark, label="mean", **thick)
    if not by_step:
        axes.plot(x, of["iqm"], color=INK, lw=1.2, ls=":", label="interquartile mean")
    names.append(Named(mean[-1], x[-1], own.label, own.colour, "_" if by_step else own.mark))

    style_axes(axes, axes.get_ylim(), 0, "step of the trial" if by_step else "episode of the trial")
    axes.set_xlim(x[0] - 0.15, x[-1] + 0.15)
    if by_step:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel("reward of the step", color=MUTED)
    else:
        axes.set_xticks(x, map(str, x))
        axes.set_ylabel("return of the episode", color=MUTED)
    numbers = {name: r["trial"]["mean"] for name, r in [*e["references"].items(), (own.label, e)]}
    connect_names(axes, names, numbers if by_step else {})
    if by_step:
        axes.text(1.05, 1.04, "return of the trial", transform=axes.transAxes, fontsize=8.5, color=INK)
    below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.12)}
    axes.legend(fontsize=8, edgecolor="none", labelcolor=INK, ncols=3, **below)
