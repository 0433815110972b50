"""Charts of several methods: adaptation curves, and intervals where nobody adapts in stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metarl.plot import (
    FAINT,
    INK,
    METHOD_COLOURS,
    METHOD_MARKS,
    MUTED,
    connect_names,
    curve_limits,
    number,
    png,
    save_png,
    style_axes,
)
from metarl.sheets import columns

SECOND_ROUND = (0, (4, 1.5))
"""Dashes of methods beyond the number of colours."""

WIDE_RANGE = 8
"""Ratio of the most and the fewest episodes from which the axis of experience is logarithmic."""


def plot_comparison(comparison: Mapping[str, Any], path: Path) -> Path:
    """Draw the adaptation curves of several methods as a PNG: interquartile means, 95% intervals, and references.

    Args:
        comparison: what `metarl.compare.compare` returns.
        path: ends in .png; its folder is made.

    Returns:
        The path.

    Raises:
        InputError: for a place that cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 4.8), dpi=150, facecolor="white")
    comparison_panel(figure, comparison)
    return save_png(figure, path)


def plot_comparisons(comparisons: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """`plot_comparison` of several environments as panels of one PNG. A method has one colour in all of them."""
    from matplotlib.figure import Figure

    num_columns = min(2, len(comparisons))
    rows = -(-len(comparisons) // num_columns)
    figure = Figure(figsize=(9.2 * num_columns, 4.8 * rows), dpi=110, facecolor="white")
    draw_panels(figure.subfigures(rows, num_columns, squeeze=False).ravel()[: len(comparisons)], comparisons)
    return save_png(figure, path)


def panel_pngs(comparisons: Sequence[Mapping[str, Any]]) -> list[bytes]:
    """The panels of `plot_comparisons`, each as a PNG of its own."""
    from matplotlib.figure import Figure

    figures = [Figure(figsize=(7.6, 4.8), dpi=150, facecolor="white") for _ in comparisons]
    draw_panels(figures, comparisons)
    return [png(figure) for figure in figures]


def draw_panels(panels: Iterable[Any], comparisons: Sequence[Mapping[str, Any]]) -> None:
    """Draw each comparison on a figure or a part of one; a method has one colour in all of them."""
    order = list(dict.fromkeys(method["method"] for c in comparisons for method in c["methods"]))
    for panel, comparison in zip(panels, comparisons, strict=True):
        methods = [{**method, "name": method["method"]} for method in comparison["methods"]]
        comparison_panel(panel, {**comparison, "methods": methods}, order)


def comparison_panel(figure: Any, comparison: Mapping[str, Any], order: Sequence[str] = ()) -> None:
    """A comparison with its titles on a figure or a part of one; `order` as in `draw_comparison`."""
    single = all(len(method["iqm"]) == 1 for method in comparison["methods"])
    axes = figure.add_axes((0.22, 0.13, 0.54, 0.7) if single else (0.1, 0.13, 0.66, 0.7))
    (draw_intervals if single else draw_comparison)(axes, comparison, order)
    figure.text(0.1, 0.93, comparison["env"], fontsize=13, weight="bold", color=INK, parse_math=False)
    seeds = " or ".join(str(n) for n in sorted({len(method["seeds"]) for method in comparison["methods"]}))
    tasks = f"{comparison['num_tasks']:,} {comparison['split']} tasks, {seeds} seed{'s' * (seeds != '1')}"
    note = f"{tasks} · interquartile mean · {'bars' if single else 'bands'}: 95% interval"
    figure.text(0.1, 0.875, note, fontsize=9.5, color=MUTED, parse_math=False)


def look(name: str, order: Sequence[str]) -> tuple[str, str, Any]:
    """Colour, mark and line style of a method."""
    k = order.index(name)
    style = "-" if k < len(METHOD_COLOURS) else SECOND_ROUND
    return METHOD_COLOURS[k % len(METHOD_COLOURS)], METHOD_MARKS[k % len(METHOD_MARKS)], style


def draw_comparison(axes: Any, comparison: Mapping[str, Any], order: Sequence[str] = ()) -> None:
    """The curves on Matplotlib axes, without titles. Methods take their colours in `order`, or in their own.

    The horizontal axis has gradient steps or episodes of a trial or, where methods differ in that, the episodes of
    experience on a task before the one that is measured. What ends before the right edge is carried on by dots.
    """
    methods, references = comparison["methods"], comparison["references"]
    bounds = np.concatenate([np.asarray(method["ci95"]).ravel() for method in methods])
    curves = {
        name: np.asarray(r.get("curve", {}).get("iqm", r.get("iqm", r["mean"]))) for name, r in references.items()
    }
    limits = curve_limits(bounds[:, None], [bounds], [float(y) for curve in curves.values() for y in np.ravel(curve)])
    places, right = horizontal(axes, comparison, limits)
    names: list[tuple[float, float, str, str]] = []
    order = list(order) or [method["name"] for method in methods]
    mixed = len({method["unit"] for method in methods}) > 1
    for method, x in zip(methods, places, strict=True):
        colour, mark, dashes = look(method["name"], order)
        y, band = np.asarray(method["iqm"]), np.transpose(method["ci95"])
        episodes = method["num_episodes"] if method["unit"] == "episodes" else len(y)
        stairs = mixed and np.diff(x).max(initial=0) > 1  # before the next step, nothing is learned from an episode
        style: dict[str, Any] = {"color": colour, "ms": 6 if len(y) > 1 else 8, "mec": "white", "mew": 0.8, "zorder": 3}
        style |= {"ls": dashes, "lw": 1.4 if stairs else 1.9, "drawstyle": "steps-post" if stairs else "default"}
        if len(y) == 1 or stairs:  # there is no band at the end
            spread = np.abs(band[:, -1:] - y[-1])
            axes.errorbar(x[-1:], y[-1:], spread, fmt="none", ecolor=colour, elinewidth=2.4, alpha=0.4, zorder=2.5)
        step = "post" if stairs else None
        axes.fill_between(x[:episodes], *band[:, :episodes], step=step, color=colour, alpha=0.13, lw=0)
        axes.plot(x[:episodes], y[:episodes], marker=mark, label=method["name"], **style)
        if len(y) > episodes:  # refined versions of the last episode
            axes.plot(x[episodes - 1 :], y[episodes - 1 :], ls=":", lw=1.2, color=colour, label="_refined")
            hollow: dict[str, Any] = {"ls": "", "ms": 6, "mec": colour, "mfc": "white", "zorder": 3}
            axes.plot(x[episodes:], y[episodes:], marker=mark, label="_refined", **hollow)
        names.append((*carry_on(axes, x, y, right, colour), method["name"], colour))
    for name, curve in curves.items():
        label = name if "iqm" in references[name] else f"{name} (mean)"
        if curve.ndim:
            x = np.arange(len(curve)) + (comparison["unit"] == "episodes")
            axes.plot(x, curve, color=MUTED, lw=1, ls="--", zorder=1.5, label="_reference")
            names.append((*carry_on(axes, x, curve, right, MUTED), label, MUTED))
        else:
            axes.axhline(curve, color=MUTED, lw=1, ls="--", zorder=1.5)
            names.append((float(curve), right, label, MUTED))
    connect_names(axes, names)


def carry_on(axes: Any, x: np.ndarray, y: np.ndarray, right: float, colour: str) -> tuple[float, float]:
    """Dots from a curve's end to the right end of the others. Returns the value and the place of its name."""
    if x[-1] < right:
        dots: dict[str, Any] = {"color": colour, "lw": 1.3, "ls": (0, (1, 2.5)), "alpha": 0.8}
        axes.plot([x[-1], right], [y[-1]] * 2, label="_carried on", zorder=1 if colour == MUTED else 2, **dots)
    return float(y[-1]), max(float(x[-1]), right)


def horizontal(axes: Any, comparison: Mapping[str, Any], limits: tuple[float, float]) -> tuple[list[np.ndarray], float]:
    """Make the horizontal axis. Returns the places of each method's stages, and the rightmost one."""
    methods, unit = comparison["methods"], comparison["unit"]
    units = {method["unit"] for method in methods}
    if units == {"episodes"}:
        stages, own = columns(methods)
        style_axes(axes, limits, 0, "episode of the trial")
        axes.set_ylabel("return of the episode", color=MUTED)
        axes.set_xlim(0.85, len(stages) + 0.15)
        axes.set_xticks(
            1 + np.arange(len(stages)), [name.removeprefix("episode ").replace(" ", "\n") for name in stages]
        )
        refined = next((k for k, name in enumerate(stages) if "refined" in name), None)
        if refined is not None:
            axes.axvline(refined + 0.5, color=FAINT, lw=1.2)
        return [1 + np.asarray(x) for x in own], len(stages)
    if len(units) == 1:
        count = max(len(method["stages"]) for method in methods)
        style_axes(axes, limits, count, unit)
        return [np.arange(len(method["stages"])) for method in methods], count - 1
    places = [np.asarray(method["episodes_before"]) for method in methods]
    experience = np.unique(np.concatenate(places))
    style_axes(axes, limits, 2, "episodes of experience on the task before the one measured")
    steps = [x for x, method in zip(places, methods, strict=True) if method["unit"] != "episodes"]
    scale_experience(axes, experience, np.unique(np.concatenate(steps)).tolist())
    return places, float(experience[-1])


def scale_experience(axes: Any, experience: np.ndarray, preferred: Sequence[int]) -> None:
    """An axis from 0 to the most episodes, logarithmic above 1 where they differ widely, with ticks where they lie."""
    most = max(1, int(experience[-1]))
    if most > WIDE_RANGE * min((n for n in experience if n > 0), default=1):
        axes.set_xscale("symlog", linthresh=1, linscale=0.6)
    forward, backward = axes.xaxis.get_transform().transform, axes.xaxis.get_transform().inverted().transform
    ends = [0, most]
    places = {n: float(forward(np.array([float(n)]))[0]) for n in [*ends, *preferred, *experience.tolist()]}
    axes.set_xlim(-0.04 * places[most], float(backward(np.array([1.03 * places[most]]))[0]))
    shown: list[int] = []
    for n in places:  # the ends first, and those of gradient steps
        if all(abs(places[n] - places[other]) > 0.045 * places[most] for other in shown):
            shown.append(n)
    axes.set_xticks(sorted(shown), [f"{n:,}" for n in sorted(shown)])
    axes.minorticks_off()


def draw_intervals(axes: Any, comparison: Mapping[str, Any], order: Sequence[str] = ()) -> None:
    """The one figure that each method has, with its interval, in a row of its own; below them the references."""
    methods, references = comparison["methods"], comparison["references"]
    order = list(order) or [method["name"] for method in methods]
    rows = [(m["name"], m["iqm"][0], m["ci95"][0], *look(m["name"], order)[:2]) for m in methods]
    for name, r in references.items():
        shown = (name, r["iqm"], r["iqm_ci95"]) if "iqm" in r else (f"{name} (mean)", r["mean"], r["ci95"])
        rows.append((*shown, MUTED, "|"))
    bounds = np.ravel([row[2] for row in rows[: len(methods)]])
    left, right = curve_limits(bounds[:, None], [bounds], [row[1] for row in rows[len(methods) :]], reach=45)
    axes.set_xlim(left, right)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows], fontsize=8.5)
    for k, (label, (_, value, interval, colour, mark)) in enumerate(zip(axes.get_yticklabels(), rows, strict=True)):
        label.set(color=colour, parse_math=False)
        digits = 1 if abs(value) >= 100 else 2
        low, high = (number(bound, digits) for bound in interval)
        text = f"{number(value, digits)}  ({low} … {high})"
        if left <= value <= right:
            axes.plot(interval, [k, k], color=colour, lw=5, alpha=0.3, solid_capstyle="butt")
            axes.plot([value], [k], marker=mark, color=colour, ms=8, mec="white" if mark != "|" else colour, mew=1.5)
        else:
            text += " ← below the axis" if value < left else " → above the axis"
        axes.text(1.03, k, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5, color=colour)
    axes.axhline(len(methods) - 0.5, color=FAINT, lw=1.2)
    whole = all(method["unit"] == "episodes" for method in methods)
    axes.set_xlabel("return of the whole trial" if whole else "return", color=MUTED)
    axes.tick_params(axis="x", colors=MUTED)
    axes.tick_params(length=0)
    axes.grid(axis="x", color=FAINT, lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
