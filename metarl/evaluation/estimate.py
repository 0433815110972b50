"""Estimate: what the scores of a method or a reference policy say, as in rliable.

Scores are runs × tasks, their interquartile mean is over all of them, and intervals are percentiles of a bootstrap over
runs in which each task keeps its number of scores (Agarwal et al. 2021, Deep RL at the Edge of the Statistical
Precipice). There a run is a training on one task; here one run plays every task, so it is drawn with all its scores:
resampling the runs of each task independently would average away what a seed does to all tasks at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Estimate:
    """Mean and interquartile mean (IQM) of scores, their 95 % intervals, and the standard deviation.

    Of one quantity, or of K, such as the returns in the stages of adaptation. JSON has the same names.
    """

    mean: np.ndarray  # [] or [K]
    mean_ci95: np.ndarray  # [2] or [K, 2]
    iqm: np.ndarray  # [] or [K]
    iqm_ci95: np.ndarray  # [2] or [K, 2]
    std: np.ndarray  # [] or [K]; NaN where a file does not say

    def __getitem__(self, k: int) -> Estimate:
        """That of stage k."""
        return Estimate(*(values[k] for values in vars(self).values()))

    def as_stage(self) -> Estimate:
        """One quantity as the only one of K = 1."""
        return Estimate(*(values[None] for values in vars(self).values()))

    def to_json(self) -> dict[str, Any]:
        return {name: values.tolist() for name, values in vars(self).items() if not np.isnan(values).any()}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any], *shape: int) -> Estimate:
        """What `to_json` returned; `shape` is (K,) for K stages.

        Raises:
            KeyError: where a field is missing.
            ValueError: for values of another shape, or that are not finite.
        """
        fields = {name: np.array(entry[name], float) for name in ("mean", "mean_ci95", "iqm", "iqm_ci95")}
        fields["std"] = np.array(entry.get("std", np.full(shape, np.nan)), float)
        for name, values in fields.items():
            expected = (*shape, 2) if name.endswith("_ci95") else shape
            if values.shape != expected or not (np.isfinite(values).all() or name == "std"):
                wanted = " x ".join(map(str, expected)) or "one"
                raise ValueError(f"{name} is not {wanted} finite number{'s' * (expected != ())}")
        return cls(**fields)


def interquartile_mean(x: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean of the middle half (Agarwal et al. 2021)."""
    from scipy.stats import trim_mean

    return trim_mean(x, 0.25, axis=axis)


def bootstrap_ci(x: np.ndarray, statistic: Callable, seed: int = 0) -> list[float]:
    """95 % percentile bootstrap interval of `statistic(x, axis)` for x [N]; a single value is its own interval."""
    from scipy.stats import bootstrap

    if len(x) < 2 or np.ptp(x) == 0:
        return [float(statistic(x, axis=0))] * 2
    rng = np.random.default_rng(seed)
    result = bootstrap((x,), statistic, n_resamples=2000, method="percentile", rng=rng, vectorized=True, batch=200)
    return [float(result.confidence_interval.low), float(result.confidence_interval.high)]


def interval_over_runs(scores: np.ndarray, statistic: Callable) -> list[float]:
    """95 % interval of a statistic over all of scores [R, T], from a bootstrap that draws whole runs."""

    @functools.cache  # few runs make few different draws
    def of(runs: tuple[int, ...]) -> float:
        return float(statistic(scores[list(runs)].ravel(), axis=0))

    def of_draws(runs: np.ndarray, axis: int) -> np.ndarray:
        return np.apply_along_axis(lambda draw: of(tuple(draw)), axis, np.sort(runs, axis=axis))

    return bootstrap_ci(np.arange(len(scores)), of_draws)


def estimate(scores: np.ndarray) -> Estimate:
    """Of scores [R runs, T tasks] or, for K stages, [R, T, K].

    The bootstrap draws runs; where there is only one, it draws tasks.
    """
    if len(scores) == 1:
        x = scores[0]
        columns = x.T if x.ndim == 2 else [x]
        mean: Any = x.mean(0)
        iqm: Any = interquartile_mean(x)
        mean_ci95 = [bootstrap_ci(c, np.mean) for c in columns]
        iqm_ci95 = [bootstrap_ci(c, interquartile_mean) for c in columns]
    else:
        stages = np.moveaxis(scores, -1, 0) if scores.ndim == 3 else [scores]
        mean, iqm = [s.mean() for s in stages], [interquartile_mean(s.ravel()) for s in stages]
        mean_ci95 = [bootstrap_ci(s.mean(1), np.mean) for s in stages]
        iqm_ci95 = [interval_over_runs(s, interquartile_mean) for s in stages]
    shape, pooled = scores.shape[2:], scores.reshape(-1, *scores.shape[2:])
    values = (mean, mean_ci95, iqm, iqm_ci95, pooled.std(0, ddof=min(1, len(pooled) - 1)))
    wanted = (shape, (*shape, 2), shape, (*shape, 2), shape)
    return Estimate(*(np.reshape(value, as_) for value, as_ in zip(values, wanted, strict=True)))


def estimate_by_errors(x: np.ndarray) -> Estimate:
    """Of scores [T, K] for many K: intervals are 1.96 standard errors to both sides of the mean, and for the IQM those
    of a trimmed mean (Tukey & McLaughlin 1963)."""
    from scipy.stats.mstats import trimmed_mean_ci

    mean, error = x.mean(0), x.std(0) / np.sqrt(len(x))
    iqm_ci95 = np.transpose(trimmed_mean_ci(x, (0.25, 0.25), axis=0))
    std = x.std(0, ddof=min(1, len(x) - 1))
    return Estimate(
        mean, np.stack([mean - 1.96 * error, mean + 1.96 * error], -1), interquartile_mean(x), iqm_ci95, std
    )
