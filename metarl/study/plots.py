"""Charts of several methods: adaptation curves, and intervals where nobody adapts in stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metarl.figures.appearance import DASHES, FAINT, INK, MUTED, Look, labels, looks
from metarl.figures.plot import Named, connect_names, curve_limits, number, save_png, style_axes
from metarl.study.sheets import columns

DODGE = 5.0
"""Points between the dots of two methods in one stage, where there is room."""

PANEL_HEIGHT, LEFT, AXES_WIDTH = 4.4, 0.7, 4.5
"""Inches."""

WIDE_RANGE = 8
"""Ratio of the most and the fewest episodes from which the axis of experience is logarithmic."""


def plot_comparison(comparison: Mapping[str, Any], path: Path) -> Path:
    """Draw the adaptation curves of several methods as a PNG: interquartile means, 95% intervals, and references.

    Args:
        comparison: what `metarl.study.compare.compare` returns.
        path: ends in .png; its folder is made.

    Returns:
        The path.

    Raises:
        InputError: for a place that cannot be written.
    """
    return plot_comparisons([comparison], path)


def plot_comparisons(comparisons: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """`plot_comparison` of several environments as panels of one PNG. A method has one colour in all of them."""
    from matplotlib.figure import Figure

    num_columns = min(2, len(comparisons))
    rows = -(-len(comparisons) // num_columns)
    size = num_columns * panel_width(comparisons), PANEL_HEIGHT * rows
    figure = Figure(figsize=size, dpi=150, facecolor="white")
    draw_panels(figure.subfigures(rows, num_columns, squeeze=False).ravel()[: len(comparisons)], comparisons)
    return save_png(figure, path)


def panel_figures(comparisons: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The panels of `plot_comparisons`, each as a Matplotlib figure of its own."""
    from matplotlib.figure import Figure

    figures = [Figure(figsize=(panel_width(comparisons), PANEL_HEIGHT)) for _ in comparisons]
    draw_panels(figures, comparisons)
    return figures


def study_names(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """The methods of all comparisons, for `metarl.figures.appearance.looks`."""
    return list(dict.fromkeys(method["method"] for c in comparisons for method in c["methods"]))


def panel_width(comparisons: Sequence[Mapping[str, Any]]) -> float:
    """Inches that leave room for the longest name beside the axes."""
    names = [name for c in comparisons for name in labels([m["method"] for m in c["methods"]]).values()]
    return LEFT + AXES_WIDTH + 0.07 * max(28, *(len(name) + 10 for name in names))


def draw_panels(panels: Iterable[Any], comparisons: Sequence[Mapping[str, Any]]) -> None:
    """Draw each comparison on a figure or a part of one; a method has one colour in all of them."""
    order = study_names(comparisons)
    width = panel_width(comparisons)
    for panel, comparison in zip(panels, comparisons, strict=True):
        methods = [{**method, "name": method["method"]} for method in comparison["methods"]]
        comparison_panel(panel, {**comparison, "methods": methods}, width, order)


def comparison_panel(figure: Any, comparison: Mapping[str, Any], width: float, order: Sequence[str]) -> None:
    """A comparison with its titles on a figure, or a part of one, of that width; `order` as in `draw_comparison`."""
    single = all(len(method["iqm"]) == 1 for method in comparison["methods"])
    left = 2.4 * LEFT if single else LEFT
    axes = figure.add_axes((left / width, 0.13, (LEFT + AXES_WIDTH - left) / width, 0.7))
    (draw_intervals if single else draw_comparison)(axes, comparison, order)
    figure.text(LEFT / width, 0.93, comparison["env"], fontsize=13, weight="bold", color=INK, parse_math=False)
    seeds = " or ".join(str(n) for n in sorted({len(method["seeds"]) for method in comparison["methods"]}))
    tasks = f"{comparison['num_tasks']:,} {comparison['split']} tasks, {seeds} seed{'s' * (seeds != '1')}"
    note = f"{tasks} · interquartile mean, bars: 95% interval"
    figure.text(LEFT / width, 0.875, note, fontsize=9.5, color=MUTED, parse_math=False)


def draw_comparison(axes: Any, comparison: Mapping[str, Any], order: Sequence[str] = ()) -> None:
    """The curves on Matplotlib axes, without titles: dots with intervals, those of one stage side by side.

    Variants of a method take their shades in `order`, the names of the whole study, or in their own. The horizontal
    axis has gradient steps or episodes of a trial or, where methods differ in that, the episodes of experience on a
    task before the one that is measured. What ends before the right edge is carried on by dots.
    """
    methods, references = comparison["methods"], comparison["references"]
    bounds = np.concatenate([np.asarray(method["ci95"]).ravel() for method in methods])
    curves = {
        name: np.asarray(r.get("curve", {}).get("iqm", r.get("iqm", r["mean"]))) for name, r in references.items()
    }
    limits = curve_limits(bounds[:, None], [bounds], [float(y) for curve in curves.values() for y in np.ravel(curve)])
    places, right = horizontal(axes, comparison, limits)
    own = looks(list(order) or [method["name"] for method in methods])
    mixed = len({method["unit"] for method in methods}) > 1
    names = []
    for method, stages, x in zip(methods, places, dodged(axes, methods, places), strict=True):
        stairs = (
            mixed and np.diff(stages).max(initial=0) > 1
        )  # before the next step, nothing is learned from an episode
        look = own[method["name"]]
        draw_method(axes, method, x, look, stairs)
        end, ended = method["iqm"][-1], stages[-1] < right
        if ended:
            carry_on(axes, x[-1], end, right, look.colour)
        names.append(Named(end, right if ended else x[-1], look.label, look.colour, look.mark))
    for k, (name, curve) in enumerate(curves.items()):
        label, line = name if "iqm" in references[name] else f"{name} (mean)", {"lw": 1, "ls": DASHES[1 + k % 3]}
        if curve.ndim:
            x = np.arange(len(curve)) + (comparison["unit"] == "episodes")
            axes.plot(x, curve, color=MUTED, zorder=1.5, label="_reference", **line)
            if x[-1] < right:
                carry_on(axes, x[-1], curve[-1], right, MUTED)
            names.append(Named(float(curve[-1]), max(x[-1], right), label, MUTED))
        else:
            axes.axhline(curve, color=MUTED, zorder=1.5, **line)
            names.append(Named(float(curve), right, label, MUTED))
    connect_names(axes, names)


def draw_method(axes: Any, method: Mapping[str, Any], x: np.ndarray, look: Look, stairs: bool) -> None:
    """A dot with its interval for each stage at x; refined stages hollow."""
    y, (low, high) = np.asarray(method["iqm"]), np.transpose(method["ci95"])
    episodes = method["num_episodes"] if method["unit"] == "episodes" else len(y)
    axes.vlines(x, low, high, color=look.colour, lw=2.2, alpha=0.45, zorder=2.5)
    dots: dict[str, Any] = {"marker": look.mark, "ms": 6, "mec": "white", "mew": 0.6, "zorder": 3}
    line = {"ls": look.dashes, "lw": 1.1, "drawstyle": "steps-post" if stairs else "default"}
    axes.plot(
        x[:episodes], y[:episodes], color=(look.colour, 0.6), mfc=look.colour, label=look.label, **line, **dots
    )  # fmt: skip
    if len(y) > episodes:  # refined versions of the last episode
        axes.plot(x[episodes - 1 :], y[episodes - 1 :], ls=":", lw=1.2, color=look.colour, label="_refined")
        dots |= {"mec": look.colour, "mfc": "white", "mew": 1}
        axes.plot(x[episodes:], y[episodes:], ls="", label="_refined", **dots)


def dodged(axes: Any, methods: Sequence[Mapping[str, Any]], places: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The places, moved apart so that no method covers another in the same stage. The axes' scale must stand."""
    from matplotlib.transforms import Affine2D

    to_points = axes.transData + axes.figure.dpi_scale_trans.inverted() + Affine2D().scale(72)
    gap = DODGE
    for unit in {method["unit"] for method in methods}:
        of_unit = [x for x, method in zip(places, methods, strict=True) if method["unit"] == unit]
        stages = np.unique(np.concatenate(of_unit)).astype(float)
        room = np.diff(to_points.transform(np.c_[stages, 0 * stages])[:, 0]).min(initial=np.inf)
        gap = min(gap, 0.8 * room / len(methods))
    out = []
    for k, x in enumerate(places):
        points = to_points.transform(np.c_[x, 0.0 * x])
        points[:, 0] += gap * (k - (len(places) - 1) / 2)
        out.append(to_points.inverted().transform(points)[:, 0])
    return out


def carry_on(axes: Any, x: float, y: float, right: float, colour: str) -> None:
    """Dots from a curve's end to the right end of the others."""
    dots: dict[str, Any] = {"color": colour, "lw": 1.3, "ls": (0, (1, 2.5)), "alpha": 0.8}
    axes.plot([x, right], [y, y], label="_carried on", zorder=1 if colour == MUTED else 2, **dots)


def horizontal(axes: Any, comparison: Mapping[str, Any], limits: tuple[float, float]) -> tuple[list[np.ndarray], float]:
    """Make the horizontal axis. Returns the places of each method's stages, and the rightmost one."""
    methods, unit = comparison["methods"], comparison["unit"]
    units = {method["unit"] for method in methods}
    if units == {"episodes"}:
        stages, own = columns(methods)
        style_axes(axes, limits, 0, "episode of the trial")
        axes.set_ylabel("return of the episode", color=MUTED)
        axes.set_xlim(0.75, len(stages) + 0.25)
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
        axes.set_xlim(-0.25, count - 0.75)
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
    axes.set_xlim(-0.08 * places[most], float(backward(np.array([1.08 * places[most]]))[0]))
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
    own = [looks(order)[method["name"]] for method in methods]
    rows = [
        (look.label, m["iqm"][0], m["ci95"][0], look.colour, look.mark) for m, look in zip(methods, own, strict=True)
    ]
    for name, r in references.items():
        shown = (name, r["iqm"], r["iqm_ci95"]) if "iqm" in r else (f"{name} (mean)", r["mean"], r["ci95"])
        rows.append((*shown, MUTED, "|"))
    bounds = np.ravel([row[2] for row in rows[: len(methods)]])
    left, right = curve_limits(bounds[:, None], [bounds], [row[1] for row in rows[len(methods) :]], reach=45)
    axes.set_xlim(left, right)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows], fontsize=8.5)
    for k, (label, (_, value, interval, colour, mark)) in enumerate(zip(axes.get_yticklabels(), rows, strict=True)):
        label.set(color=INK if k < len(methods) else MUTED, parse_math=False)
        digits = 1 if abs(value) >= 100 else 2
        low, high = (number(bound, digits) for bound in interval)
        text = f"{number(value, digits)}  ({low} … {high})"
        if left <= value <= right:
            axes.plot(interval, [k, k], color=colour, lw=4, alpha=0.45, solid_capstyle="butt")
            axes.plot(
                [value],
                [k],
                marker=mark,
                color=colour,
                ms=6,
                mec="white" if mark != "|" else colour,
                mew=0.6 if mark != "|" else 1.5,
            )
        else:
            text += " ← below the axis" if value < left else " → above the axis"
        axes.text(
            1.03, k, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5, color=label.get_color()
        )
    axes.axhline(len(methods) - 0.5, color=FAINT, lw=1.2)
    whole = all(method["unit"] == "episodes" for method in methods)
    axes.set_xlabel("return of the whole trial" if whole else "return", color=MUTED)
    axes.tick_params(axis="x", colors=MUTED)
    axes.tick_params(length=0)
    axes.grid(axis="x", color=FAINT, lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
