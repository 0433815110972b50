"""Learning curves: the return in the course of training, from the metrics.jsonl of every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metarl.figures.appearance import INK, MUTED, Look
from metarl.figures.plot import Named, connect_names, frame
from metarl.study.methods import Method
from metarl.study.plots import carry_on
from metarl.training import metrics_log

MAX_POINTS = 300
"""Points of a curve; of more, each is the mean of several meta-iterations."""


def learning_curve(folder: Path, env_steps: int) -> np.ndarray:
    """Environment steps and the return after the last stage that training plays, [2, P].

    Of a memory that is the last episode of a trial. Lines after `env_steps`, the run's evaluation, are left out; empty
    where there is no log.
    """
    points = []
    for row in metrics_log.read(folder / "metrics.jsonl").values():
        last = max((key for key in row if key.startswith("return_")), key=lambda key: int(key[7:]), default=None)
        if last and row["env_steps"] <= env_steps and np.isfinite(row[last]):
            points.append((row["env_steps"], row[last]))
    curve = np.array(points).reshape(-1, 2).T
    return _means(curve, -(-curve.shape[1] // MAX_POINTS))


def draw_learning(methods: Sequence[Method], looks: Mapping[str, Look]) -> Any | None:
    """The curves as a Matplotlib figure: each seed thin, the mean over seeds thick. None where no run has a log.

    Args:
        looks: by the methods' short names.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 4.2))
    axes = figure.add_axes((0.1, 0.13, 0.62, 0.72))
    ends: list[tuple[Look, np.ndarray]] = []
    missing = []
    for method in methods:
        look = looks[method.short]
        curves = [learning_curve(run.path, run.evaluation["env_steps"]) for run in method.runs]
        curves = [_smooth(curve) for curve in curves if curve.size]
        for curve in curves if len(curves) > 1 else ():
            axes.plot(*curve, color=look.colour, lw=0.8, alpha=0.4, label="_seed")
        if curves:
            mean = _mean_over_seeds(curves)
            axes.plot(*mean, color=look.colour, lw=2, ls=look.dashes, label=look.label)
            ends.append((look, mean[:, -1]))
        else:
            missing.append(look.label)
    if not ends:
        return None
    cut = _style(axes)
    right = max(end[0] for _, end in ends)
    for look, (steps, value) in ends:
        if steps < right:
            carry_on(axes, steps, value, right, look.colour)
    connect_names(axes, [Named(end[1], right, look.label, look.colour, "_") for look, end in ends])
    facts = ["smoothed", *["cut off at the axis"] * cut, *[f"no log: {', '.join(missing)}"] * bool(missing)]
    lines = "after the last step or in the last episode · thick: mean over seeds, thin: single seeds"
    for place, note in ((0.94, lines), (0.89, " · ".join(facts))):
        figure.text(0.1, place, note, fontsize=9.5, color=MUTED, parse_math=False)
    figure.text(0.1, 1.0, "Learning curves", fontsize=13, weight="bold", color=INK)
    return figure


def _style(axes: Any) -> bool:
    """Axes for the bulk of the curves; whether something lies beyond, as returns of the first iterations often do."""
    from matplotlib.ticker import EngFormatter

    values = np.concatenate([np.asarray(line.get_ydata()) for line in axes.lines])
    low, high = np.percentile(values, [10, 90])
    reach = 0.7 * (high - low)
    bottom, top = max(values.min(), low - reach), min(values.max(), high + reach)
    space = 0.05 * (top - bottom) or 1.0
    axes.set_ylim(bottom - space, top + space)
    axes.set_xlim(0, 1.01 * max(line.get_xdata()[-1] for line in axes.lines))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    frame(axes, "environment steps of training", "return in training")
    return bool(values.min() < bottom - space or values.max() > top + space)


def _mean_over_seeds(curves: Sequence[np.ndarray]) -> np.ndarray:
    """Up to where the shortest ends."""
    steps = max(curves, key=lambda curve: curve.shape[1])[0]
    steps = steps[(steps >= max(c[0, 0] for c in curves)) & (steps <= min(c[0, -1] for c in curves))]
    return np.stack([steps, np.mean([np.interp(steps, *curve) for curve in curves], axis=0)])


def _smooth(curve: np.ndarray) -> np.ndarray:
    """A running mean over about a thirtieth of the curve."""
    from scipy.ndimage import uniform_filter1d

    return np.stack([curve[0], uniform_filter1d(curve[1], 1 + 2 * (curve.shape[1] // 60), mode="nearest")])


def _means(curve: np.ndarray, size: int) -> np.ndarray:
    """Means of groups of `size` points, the last one smaller; each at the end of its group."""
    if size <= 1:
        return curve
    starts = np.arange(0, curve.shape[1], size)
    ends = np.minimum(starts + size, curve.shape[1])
    return np.stack([curve[0, ends - 1], np.add.reduceat(curve[1], starts) / (ends - starts)])
