"""Findings of a diagnosis: each a question about a trained run, answered in one sentence with the numbers behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from torch import Tensor

from metarl.evaluation.estimate import bootstrap_ci

Verdict = Literal["ok", "note", "problem", "does not apply"]

ROUNDING = 1e-5
"""Fraction of the largest |return| below which a difference is rounding of float32."""
MATERIAL = 0.01
"""Fraction of the largest |return| that an uncertain gain must exceed to be worth playing more tasks."""


@dataclass(frozen=True)
class Finding:
    """What was found about one thing."""

    name: str
    verdict: Verdict
    sentence: str
    numbers: dict[str, Any] = field(default_factory=dict)
    """JSON-able; an `Interval` is written as its `mean` and `mean_ci95`."""
    next: str | None = None
    """What to try, in options of metarl train."""


def does_not_apply(name: str, why: str) -> Finding:
    return Finding(name, "does not apply", why)


@dataclass(frozen=True)
class Interval:
    """A mean over tasks with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    error: float = math.nan
    """Standard error of the mean."""
    scale: float = 0.0
    """Largest |return| of those whose difference it is."""

    @classmethod
    def of(cls, x: Tensor | np.ndarray) -> Interval:
        """Of the finite numbers in x [N]."""
        values = _finite(x)
        if len(values) == 0:
            return cls(math.nan, math.nan, math.nan)
        error = float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else math.nan
        low, high = bootstrap_ci(values, np.mean)
        return cls(float(values.mean()), low, high, error)

    @classmethod
    def of_change(cls, after: Tensor, before: Tensor) -> Interval:
        """Of after - before, returns [N] paired by task."""
        return replace(cls.of(after - before), scale=_largest(after, before))

    @classmethod
    def of_difference(cls, x: Tensor, y: Tensor) -> Interval:
        """Of mean(x) - mean(y) for unpaired finite returns x [N] and y [M]: both are drawn again in the bootstrap."""
        rng = np.random.default_rng(0)
        a, b = _finite(x), _finite(y)
        draws = [v[rng.integers(len(v), size=(2000, len(v)))].mean(1) for v in (a, b)]
        low, high = np.quantile(draws[0] - draws[1], [0.025, 0.975])
        return cls(float(a.mean() - b.mean()), float(low), float(high), scale=_largest(x, y))

    @property
    def positive(self) -> bool:
        """Does the whole interval lie above 0, beyond rounding?"""
        return self.low > ROUNDING * self.scale

    @property
    def negative(self) -> bool:
        return self.high < -ROUNDING * self.scale

    @property
    def promising(self) -> bool:
        """Is the mean more than its standard error, and large enough to matter?

        A single task that changes makes a mean of exactly one standard error, which is not enough.
        """
        return self.mean - self.error > ROUNDING * self.scale and self.mean > MATERIAL * self.scale

    def __str__(self) -> str:
        return f"{short(self.mean, '+')} (95 %: {short(self.low, '+')} … {short(self.high, '+')})"


def _finite(x: Tensor | np.ndarray) -> np.ndarray:
    values = np.asarray(x.cpu() if isinstance(x, Tensor) else x, dtype=np.float64)
    return values[np.isfinite(values)]


def _largest(*returns: Tensor) -> float:
    return max(float(np.abs(_finite(x)).max(initial=0)) for x in returns)


def short(x: float, sign: str = "") -> str:
    """Three significant digits, with a true minus sign."""
    text = f"{x:{sign}.0f}" if 100 <= abs(x) < 1e6 else f"{x:{sign}.3g}"
    return text.replace("-", "−")


def plain(value: Any) -> Any:
    """As JSON: intervals as lists, numbers that are not finite as null."""
    if isinstance(value, Interval):
        return plain({"mean": value.mean, "mean_ci95": [value.low, value.high]})
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def judge_gain(gain: Interval, specific: Interval | None, stages: str, control: str) -> tuple[Verdict, str]:
    """Does adaptation help, and because of the task's own data?

    A gain that is promising but not yet certain is left undecided.

    Args:
        gain: return after adaptation minus before, paired by task.
        specific: return after adaptation minus that under the control, in which what was learned does not come from
            the task; None where there is no control.
        stages: what lies between before and after, such as "after 1 gradient step".
        control: what the control is, such as "with another task's data".
    """
    said = f"the return changes by {gain} {stages}"
    effect = "hurts" if gain.negative else "does not help"
    if not gain.positive and gain.promising:
        return "note", f"Adaptation may help, but too few tasks were played to tell: {said}."
    if specific is None and gain.positive:
        return "ok", f"Adaptation helps: {said}; there is no control to tell whether it identifies the task."
    if specific is None:
        return "problem", f"Adaptation {effect}: {said}."
    own = f"by {specific} more than {control}"
    if gain.positive and specific.positive:
        return "ok", f"Adaptation helps: {said}, and {own}, so it identifies the task."
    if gain.positive and specific.high > 0.5 * gain.mean:
        return "note", f"Adaptation improves the return, but too few tasks were played to say why: {said}, {own}."
    if gain.positive:
        return "problem", (
            f"Only multi-task improvement is seen: {said}, but no more than {control} ({specific}), so it is "
            "further training that helps on any task."
        )
    if specific.positive:
        return "problem", f"Adaptation {effect}: {said}, although it tells tasks apart: that is {own}."
    return "problem", f"Adaptation {effect}: {said}."
