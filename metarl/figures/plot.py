"""Charts: the adaptation curve of an evaluation, and what other charts share."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import InputError, require
from metarl.backend.files import write_atomically
from metarl.figures.appearance import DASHES, FAINT, INK, MUTED, looks, mix, title

ACCENT = "#2f6fde"
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


def png(figure: Any) -> bytes:
    """A Matplotlib figure as a PNG."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", bbox_inches="tight", pad_inches=0.25)  # names may reach beyond the figure
    return picture.getvalue()


def save_png(figure: Any, path: Path) -> Path:
    """Write a Matplotlib figure atomically. Raises `InputError` for a place that cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = png(figure)
        write_atomically(path, lambda part: part.write_bytes(picture))
    except OSError as error:
        raise InputError(f"The plot cannot be written to {str(path)!r}: {error.strerror or error}.") from None
    return path


def draw_curve(axes: Any, evaluation: Mapping[str, Any]) -> None:
    """The same on Matplotlib axes, without titles."""
    curve, references = evaluation["adaptation"], evaluation.get("references", {})
    if curve["unit"] == "episodes":
        draw_trial(axes, evaluation)
        return
    look = looks([evaluation["preset"]])[evaluation["preset"]]
    mean, iqm, (low, high) = np.asarray(curve["mean"]), np.asarray(curve["iqm"]), np.asarray(curve["ci95"]).T
    steps = np.arange(len(mean))
    tasks = np.asarray(evaluation["per_task"], dtype=float).reshape(-1, len(mean))
    limits = curve_limits(tasks, [mean, iqm, low, high], [reference["mean"] for reference in references.values()])
    axes.set_ylim(*limits)

    shown = tasks[:: -(-len(tasks) // MAX_TASK_CURVES)]
    outside = int(((shown < limits[0]) | (shown > limits[1])).any(1).sum())
    label = "single tasks" if len(shown) == len(tasks) else f"{len(shown)} of the {len(tasks)} tasks"
    label += f" ({outside} beyond the axis)" if outside else ""
    for k, row in enumerate(shown):
        axes.plot(steps, row, color="#cbd2db", lw=0.8, zorder=1.5, label=None if k else label)
    thick: dict[str, Any] = {"marker": look.mark, "color": look.colour, "lw": 2.4, "ms": 6, "mec": "white", "mew": 1}
    band = {"color": look.colour, "alpha": 0.22, "lw": 0, "zorder": 1.8}
    axes.fill_between(steps, low, high, label="95% interval of the IQM", **band)
    axes.plot(steps, mean, color=INK, lw=1.2, ls=(0, (4, 3)), label="mean")
    axes.plot(steps, iqm, label="interquartile mean (IQM)", **thick)
    for reference in references.values():
        axes.axhline(reference["mean"], color=MUTED, lw=1, ls=":")
        if "ci95" in reference:
            axes.axhspan(*reference["ci95"], color=MUTED, alpha=0.12, lw=0)
    place_names(axes, {name: reference["mean"] for name, reference in references.items()})

    style_axes(axes, limits, len(steps), curve["unit"])
    below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.12), "ncols": 2}
    axes.legend(fontsize=8, edgecolor="none", labelcolor=INK, **below)


def draw_trial(axes: Any, evaluation: Mapping[str, Any]) -> None:
    """What a policy with a memory and each reference get in the course of a trial: means over tasks.

    By episode, with 95% intervals; behind the last one, what it brings after gradient steps on those before it. Where a
    trial is one episode, by its steps; the numbers beside the names are then returns of the whole trial.
    """
    from matplotlib.ticker import MaxNLocator

    e, episodes = evaluation, evaluation["num_episodes"]
    by_step = episodes == 1
    of = {"mean": e["trial"]["curve"], "mean_ci95": e["trial"]["curve_ci95"]} if by_step else e["adaptation"]
    mean, band = np.asarray(of["mean"]), np.asarray(of["mean_ci95"])
    curves = {name: np.asarray(r["trial"]["curve"]) for name, r in e["references"].items()}
    inside = [mean, band.ravel(), np.asarray(of.get("iqm", mean))]
    axes.set_ylim(*curve_limits(band, inside, [y for curve in curves.values() for y in curve], reach=3))

    names: list[Named] = []
    for k, (name, y) in enumerate(curves.items()):
        colour, x = mix(MUTED, INK, 0.6 * (k % 2)), 1 + np.arange(len(y))
        if not by_step:
            ends = np.transpose(e["references"][name]["trial"]["curve_ci95"])
            axes.fill_between(x, *ends, color=colour, alpha=0.1, lw=0, zorder=1.5)
        axes.plot(x, y, color=colour, lw=1.1, ls=DASHES[1 + k % 3], label=f"_{name}")
        names.append(Named(y[-1], x[-1], name, colour))
    own, x = looks([e["preset"]])[e["preset"]], 1 + np.arange(len(mean))
    axes.fill_between(x, *band.T, color=own.colour, alpha=0.22, lw=0, zorder=1.8, label="95% interval of the mean")
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
        axes.set_xticks(x, [*range(1, episodes + 1), *(f"refined\n{k}×" for k in x[: len(x) - episodes])])
        axes.set_ylabel("return of the episode", color=MUTED)
        if len(x) > episodes:
            axes.axvline(episodes + 0.5, color=FAINT, lw=1.2)
    numbers = {name: r["trial"]["mean"] for name, r in [*e["references"].items(), (own.label, e)]}
    connect_names(axes, names, numbers if by_step else {})
    if by_step:
        axes.text(1.05, 1.04, "return of the trial", transform=axes.transAxes, fontsize=8.5, color=INK)
    below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.18 if len(x) > episodes > 1 else -0.12)}
    axes.legend(fontsize=8, edgecolor="none", labelcolor=INK, ncols=3, **below)


def style_axes(axes: Any, limits: tuple[float, float], count: int, unit: str) -> None:
    """Axes of the return after 0 .. count - 1 adaptation steps."""
    axes.set_ylim(*limits)
    axes.set_xlim(-0.15, count - 0.85)
    axes.set_xticks(range(0, count, 1 + count // 20))
    axes.set_xlabel(unit, color=MUTED)
    axes.set_ylabel("return", color=MUTED)
    axes.tick_params(colors=MUTED, length=0)
    axes.grid(axis="y", color=FAINT, lw=0.7)
    axes.spines[:].set_visible(False)


def curve_limits(
    tasks: np.ndarray, curves: list[np.ndarray], references: list[float], reach: float = 1
) -> tuple[float, float]:
    """Vertical range: the curves, the middle 90% of tasks, and every reference within `reach` times that of them."""
    values = np.concatenate([*curves, *np.percentile(tasks, [5, 95], axis=0)])
    low, high = float(values.min()), float(values.max())
    span = (high - low) or abs(high) or 1.0
    near = [value for value in references if low - reach * span <= value <= high + reach * span]
    low, high = min([low, *near]), max([high, *near])
    return low - 0.05 * (high - low or span), high + 0.05 * (high - low or span)


def place_names(axes: Any, values: Mapping[str, float]) -> None:
    """Names of the horizontal lines to the right of the axes, moved apart where they would overlap.

    A value outside the axes is named at the edge, with an arrow.
    """
    bottom, top = axes.get_ylim()
    line, position = 0.055, -np.inf  # of the axes' height
    for name, value in sorted(values.items(), key=lambda item: item[1]):
        share = (value - bottom) / (top - bottom)
        position = max(min(max(share, 0.0), 1.0), position + line)
        arrow = "" if 0 <= share <= 1 else " ↓ below the axis" if share < 0 else " ↑ above the axis"
        text = f"{name} {number(value, 1 if abs(value) >= 10 else 2)}{arrow}"
        axes.text(1.02, position, text, transform=axes.transAxes, va="center", fontsize=8.5, color=MUTED)


def number(x: float, digits: int) -> str:
    """Fixed-point, with a true minus sign."""
    return f"{x:.{digits}f}".replace("-", "−")


@dataclass(frozen=True)
class Named:
    """A point of a chart that is named beside it; a mark is repeated before the name."""

    value: float
    step: float
    name: str
    colour: str
    mark: str = ""


def connect_names(axes: Any, names: Sequence[Named], numbers: Mapping[str, float] | None = None) -> None:
    """Names to the right of the axes, each joined to its point.

    They stand as near to their values as they can without overlap. A value outside the axes gets an arrow.

    Args:
        numbers: by name, what to print in place of the value.
    """
    from scipy.optimize import isotonic_regression

    bottom, top = axes.get_ylim()
    names = sorted(names, key=lambda one: one.value)
    shares = (np.array([one.value for one in names]) - bottom) / (top - bottom)
    rank = np.arange(len(names))
    gap = min(0.055, 1 / max(1, len(names) - 1))  # of the axes' height
    free = isotonic_regression(np.clip(shares, 0, 1) - gap * rank).x  # least squares under the gaps
    places = np.clip(free, 0, 1 - gap * rank[-1]) + gap * rank
    for one, share, place in zip(names, shares, places, strict=True):
        arrow = "" if 0 <= share <= 1 else " ↓ below the axis" if share < 0 else " ↑ above the axis"
        printed = (numbers or {}).get(one.name, one.value)
        text = f"{one.name} {number(printed, 1 if abs(printed) >= 10 else 2)}{arrow}"
        style: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False, "color": one.colour}
        ink = INK if one.mark else one.colour
        place_of_text = (1.075 if one.mark else 1.05, place)
        axes.text(
            *place_of_text, text, transform=axes.transAxes, va="center", fontsize=8.5, color=ink, parse_math=False
        )
        if one.mark:
            axes.plot([1.057], [place], one.mark, label="_name", ms=5.5, mew=1.5 if one.mark == "_" else 0, **style)
        if not arrow:
            ends = [axes.transAxes.inverted().transform(axes.transData.transform((one.step, one.value)))[0], 1.043]
            axes.plot(ends, [share, place], label="_name", zorder=1, lw=0.7, alpha=0.6, **style)
