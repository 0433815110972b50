"""What charts share: axes and their range, names beside curves, PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import InputError
from metarl.backend.files import write_atomically
from metarl.figures.appearance import FAINT, INK, MUTED

ACCENT = "#2f6fde"


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


def style_axes(axes: Any, limits: tuple[float, float], count: int, unit: str) -> None:
    """Axes of the return after 0 .. count - 1 adaptation steps."""
    axes.set_ylim(*limits)
    axes.set_xlim(-0.15, count - 0.85)
    axes.set_xticks(range(0, count, 1 + count // 20))
    frame(axes, unit, "return")


def frame(axes: Any, xlabel: str, ylabel: str) -> None:
    """Labels, and lines that stand back behind the curves."""
    axes.set_xlabel(xlabel, color=MUTED)
    axes.set_ylabel(ylabel, color=MUTED)
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
    mark: str | tuple[int, int, int] = ""


def connect_names(axes: Any, names: Sequence[Named], numbers: Mapping[str, float] | None = None) -> None:
    """Names to the right of the axes, each joined to its point.

    They stand as near to their values as they can without overlap. A value outside the axes gets an arrow.

    Args:
        numbers: by name, what to print in place of the value.
    """
    from scipy.optimize import isotonic_regression

    if not names:
        return
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
        font = {"va": "center", "fontsize": 8.5, "color": INK if one.mark else one.colour, "parse_math": False}
        axes.text(1.075 if one.mark else 1.05, place, text, transform=axes.transAxes, **font)
        if one.mark:
            shape = {"marker": one.mark, "ls": "", "ms": 5.5, "mew": 1.5 if one.mark == "_" else 0}
            axes.plot([1.057], [place], label="_name", **shape, **style)
        if not arrow:
            ends = [axes.transAxes.inverted().transform(axes.transData.transform((one.step, one.value)))[0], 1.043]
            axes.plot(ends, [share, place], label="_name", zorder=1, lw=0.7, alpha=0.6, **style)
