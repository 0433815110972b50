"""Charts of several methods: adaptation curves, and intervals where nobody adapts in stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metarl.figures.appearance import DASHES, FAINT, INK, MUTED, Look, looks
from metarl.figures.plot import Named, connect_names, curve_limits, number, save_png, style_axes
from metarl.study.compare import Comparison
from metarl.study.methods import Method
from metarl.study.sheets import columns

DODGE = 5.0
"""Points between the dots of two methods in one stage, where there is room."""

PANEL_HEIGHT, LEFT, AXES_WIDTH = 4.4, 0.7, 4.5
"""Inches."""

WIDE_RANGE = 8
"""Ratio of the most and the fewest episodes from which the axis of experience is logarithmic."""


def plot_comparisons(comparisons: Sequence[Comparison], path: Path) -> Path:
    """Draw the adaptation curves of several methods as a PNG: interquartile means, 95% intervals, and references.

    Each environment has a panel, and a method has one colour in all of them.

    Args:
        path: ends in .png; its folder is made.

    Returns:
        The path.

    Raises:
        InputError: for a place that cannot be written.
    """
    from matplotlib.figure import Figure

    num_columns = min(2, len(comparisons))
    rows = -(-len(comparisons) // num_columns)
    size = num_columns * panel_width(comparisons), PANEL_HEIGHT * rows
    figure = Figure(figsize=size, dpi=150, facecolor="white")
    draw_panels(figure.subfigures(rows, num_columns, squeeze=False).ravel()[: len(comparisons)], comparisons)
    return save_png(figure, path)


def panel_figures(comparisons: Sequence[Comparison]) -> list[Any]:
    """The panels of `plot_comparisons`, each as a Matplotlib figure of its own."""
    from matplotlib.figure import Figure

    figures = [Figure(figsize=(panel_width(comparisons), PANEL_HEIGHT)) for _ in comparisons]
    draw_panels(figures, comparisons)
    return figures


def study_looks(comparisons: Sequence[Comparison]) -> dict[str, Look]:
    """The look of every method in all of them, by its short name."""
    return looks([method.short for comparison in comparisons for method in comparison.methods])


def panel_width(comparisons: Sequence[Comparison]) -> float:
    """Inches that leave room for the longest name beside the axes."""
    names = [label for comparison in comparisons for label in comparison.labels.values()]
    return LEFT + AXES_WIDTH + 0.07 * max(28, *(len(name) + 10 for name in names))


def draw_panels(panels: Iterable[Any], comparisons: Sequence[Comparison]) -> None:
    """Draw each comparison with its titles on a figure or a part of one."""
    own, width = study_looks(comparisons), panel_width(comparisons)
    for figure, comparison in zip(panels, comparisons, strict=True):
        single = all(len(method.run.stages) == 1 for method in comparison.methods)
        left = 2.4 * LEFT if single else LEFT
        axes = figure.add_axes((left / width, 0.13, (LEFT + AXES_WIDTH - left) / width, 0.7))
        (draw_intervals if single else draw_comparison)(axes, comparison, own)
        tasks = f"{comparison.tasks['num_tasks']:,} {comparison.tasks['split']} tasks"
        note = f"{tasks}, {comparison.seeds} · interquartile mean, bars: 95% interval"
        title: dict[str, Any] = {"fontsize": 13, "weight": "bold", "color": INK}
        figure.text(LEFT / width, 0.93, comparison.env, parse_math=False, **title)
        figure.text(LEFT / width, 0.875, note, fontsize=9.5, color=MUTED, parse_math=False)


def draw_comparison(axes: Any, comparison: Comparison, own: Mapping[str, Look]) -> None:
    """The curves on Matplotlib axes, without titles: dots with intervals, those of one stage side by side.

    The horizontal axis has gradient steps or episodes of a trial or, where methods differ in that, the episodes of
    experience on a task before the one that is measured. What ends before the right edge is carried on by dots.

    Args:
        own: of `study_looks`.
    """
    methods = comparison.methods
    bounds = np.concatenate([method.adaptation.iqm_ci95.ravel() for method in methods])
    curves = {name: r.adaptation.iqm for name, r in comparison.references.items()}
    limits = curve_limits(bounds[:, None], [bounds], [float(y) for curve in curves.values() for y in curve])
    places, right = horizontal(axes, comparison, limits)
    names = []
    for method, stages, x in zip(methods, places, dodged(axes, methods, places), strict=True):
        # before the next step, nothing is learned from an episode
        stairs = comparison.mixed and np.diff(stages).max(initial=0) > 1
        look = own[method.short]
        draw_method(axes, method, x, look, stairs)
        end, ended = method.adaptation.iqm[-1], stages[-1] < right
        if ended:
            carry_on(axes, x[-1], end, right, look.colour)
        names.append(Named(end, right if ended else x[-1], look.label, look.colour, look.mark))
    for k, (name, curve) in enumerate(curves.items()):
        line = {"lw": 1, "ls": DASHES[1 + k % 3], "color": MUTED, "zorder": 1.5}
        learns = len(curve) > 1
        x = np.arange(len(curve)) + comparison.trials_only if learns else np.array([right])
        if learns:
            axes.plot(x, curve, label="_reference", **line)
        else:
            axes.axhline(curve[0], **line)
        if x[-1] < right:
            carry_on(axes, x[-1], curve[-1], right, MUTED)
        names.append(Named(float(curve[-1]), max(x[-1], right), name, MUTED))
    connect_names(axes, names)


def draw_method(axes: Any, method: Method, x: np.ndarray, look: Look, stairs: bool) -> None:
    """A dot with its interval for each stage at x."""
    y, (low, high) = method.adaptation.iqm, method.adaptation.iqm_ci95.T
    axes.vlines(x, low, high, color=look.colour, lw=2.2, alpha=0.45, zorder=2.5)
    dots: dict[str, Any] = {"marker": look.mark, "ms": 6, "mec": "white", "mew": 0.6, "zorder": 3}
    line = {"ls": look.dashes, "lw": 1.1, "drawstyle": "steps-post" if stairs else "default"}
    own = {"color": (look.colour, 0.6), "mfc": look.colour, "label": look.label}
    axes.plot(x, y, **own, **line, **dots)


def dodged(axes: Any, methods: Sequence[Method], places: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The places, moved apart so that no method covers another in the same stage. The axes' scale must stand."""
    from matplotlib.transforms import Affine2D

    to_points = axes.transData + axes.figure.dpi_scale_trans.inverted() + Affine2D().scale(72)
    gap = DODGE
    for trial in {method.run.stages.trial for method in methods}:
        alike = [x for x, method in zip(places, methods, strict=True) if method.run.stages.trial == trial]
        stages = np.unique(np.concatenate(alike)).astype(float)
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


def horizontal(axes: Any, comparison: Comparison, limits: tuple[float, float]) -> tuple[list[np.ndarray], float]:
    """Make the horizontal axis. Returns the places of each method's stages, and the rightmost one."""
    methods = comparison.methods
    if comparison.mixed:
        places = [np.asarray(method.run.episodes_before) for method in methods]
        experience = np.unique(np.concatenate(places))
        style_axes(axes, limits, 2, "episodes of experience on the task before the one measured")
        steps = [x for x, method in zip(places, methods, strict=True) if not method.run.stages.trial]
        scale_experience(axes, experience, np.unique(np.concatenate(steps)).tolist())
        return places, float(experience[-1])
    count, own = len(columns(methods)), [np.arange(len(method.run.stages)) for method in methods]
    if not comparison.trials_only:
        style_axes(axes, limits, count, methods[0].run.stages.unit)
        axes.set_xlim(-0.25, count - 0.75)
        return own, count - 1
    style_axes(axes, limits, 0, "episode of the trial")
    axes.set_ylabel("return of the episode", color=MUTED)
    axes.set_xlim(0.75, count + 0.25)
    axes.set_xticks(range(1, count + 1), map(str, range(1, count + 1)))
    return [1 + x for x in own], count


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


def draw_intervals(axes: Any, comparison: Comparison, own: Mapping[str, Look]) -> None:
    """The one figure that each method has, with its interval, in a row of its own; below them the references."""
    methods = comparison.methods
    rows = [(method.adaptation[0], own[method.short]) for method in methods]
    rows += [(r.episode, Look(name, MUTED, "|")) for name, r in comparison.references.items()]
    bounds = np.ravel([estimate.iqm_ci95 for estimate, _ in rows[: len(methods)]])
    left, right = curve_limits(bounds[:, None], [bounds], [float(e.iqm) for e, _ in rows[len(methods) :]], reach=45)
    axes.set_xlim(left, right)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [look.label for _, look in rows], fontsize=8.5)
    for k, (label, (estimate, look)) in enumerate(zip(axes.get_yticklabels(), rows, strict=True)):
        label.set(color=INK if k < len(methods) else MUTED, parse_math=False)
        value, digits = float(estimate.iqm), 1 if abs(estimate.iqm) >= 100 else 2
        low, high = (number(bound, digits) for bound in estimate.iqm_ci95)
        text = f"{number(value, digits)}  ({low} … {high})"
        if left <= value <= right:
            axes.plot(estimate.iqm_ci95, [k, k], color=look.colour, lw=4, alpha=0.45, solid_capstyle="butt")
            edge = {"mec": look.colour, "mew": 1.5} if look.mark == "|" else {"mec": "white", "mew": 0.6}
            axes.plot([value], [k], marker=look.mark, color=look.colour, ms=6, **edge)
        else:
            text += " ← below the axis" if value < left else " → above the axis"
        at: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 8.5}
        axes.text(1.03, k, text, color=label.get_color(), **at)
    axes.axhline(len(methods) - 0.5, color=FAINT, lw=1.2)
    axes.set_xlabel("return of the whole trial" if comparison.trials_only else "return", color=MUTED)
    axes.tick_params(axis="x", colors=MUTED)
    axes.tick_params(length=0)
    axes.grid(axis="x", color=FAINT, lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
