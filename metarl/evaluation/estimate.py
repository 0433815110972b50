"""Estimate: what the scores of a method or a reference policy say.

Scores are runs × tasks: every run plays every task, so a seed moves all scores of a row and a task all of a column. The
interquartile mean is over all of them (Agarwal et al. 2021, Deep RL at the Edge of the Statistical Precipice). The
intervals of several runs say where the mean over other seeds and tasks would lie; those of one run are over tasks.
"""

from __future__ import annotations

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


def interval_over_runs(centre: np.ndarray, *sides: np.ndarray) -> np.ndarray:
    """95 % interval [..., 2] of a mean over runs and tasks, for other seeds and other tasks.

    Its squared half-width is that of Student's t interval over runs plus that over tasks. With normal effects of seeds
    and tasks it covers at least 95 % whatever their sizes (Banerjee 1960, Sankhyā 22). The noise of single scores is in
    the means of runs and in those of tasks, and counts once.

    Args:
        centre: [...]
        sides: [R, T, ...], the scores of runs that were seeded independently. One method is one side; a comparison of
            two has one for each, averaged over the runs of the other.
    """
    from scipy.stats import t

    num_tasks = sides[0].shape[1]
    more_tasks = max(num_tasks - 1, 1)  # of one task, nothing is known about others
    of_tasks, squared = _squared_error(sides[0].mean(0)), np.zeros(np.shape(centre))
    for scores in sides:
        num_runs, means = len(scores), scores.mean(1)
        squared += t.ppf(0.975, num_runs - 1) ** 2 * _squared_error(means)
        noise = scores - means[:, None] - scores.mean(0) + means.mean(0)
        cells = num_runs * (num_runs - 1) * num_tasks * more_tasks
        of_tasks = of_tasks - np.square(noise).sum((0, 1)) / cells
    half = np.sqrt(squared + t.ppf(0.975, more_tasks) ** 2 * np.maximum(of_tasks, 0))
    return np.stack([centre - half, centre + half], -1)


def _squared_error(x: np.ndarray) -> np.ndarray:
    """Of the mean over the first axis; 0 for one value."""
    return np.square(x - x.mean(0)).sum(0) / (len(x) * max(len(x) - 1, 1))


def estimate(scores: np.ndarray) -> Estimate:
    """Of scores [R runs, T tasks] or, for K stages, [R, T, K]. Intervals are over runs and tasks; of one run, a
    bootstrap over tasks."""
    pooled = scores.reshape(-1, *scores.shape[2:])  # [R T] or [R T, K]
    mean, iqm = pooled.mean(0), interquartile_mean(pooled)
    if len(scores) == 1:
        columns = pooled.T if pooled.ndim == 2 else [pooled]
        mean_ci95: Any = [bootstrap_ci(c, np.mean) for c in columns]
        iqm_ci95: Any = [bootstrap_ci(c, interquartile_mean) for c in columns]
    else:
        mean_ci95, iqm_ci95 = interval_over_runs(mean, scores), interval_over_runs(iqm, winsorized(scores))
    values = (mean, mean_ci95, iqm, iqm_ci95, pooled.std(0, ddof=min(1, len(pooled) - 1)))
    wanted = (mean.shape, (*mean.shape, 2)) * 2 + (mean.shape,)
    return Estimate(*(np.reshape(value, as_) for value, as_ in zip(values, wanted, strict=True)))


def winsorized(scores: np.ndarray) -> np.ndarray:
    """Scores [R, T, ...] whose mean varies as their interquartile mean does (Tukey & McLaughlin 1963): those outside
    the middle half moved to its edge, on the scale of the scores that are averaged."""
    ordered = np.sort(scores.reshape(-1, *scores.shape[2:]), axis=0)
    cut = len(ordered) // 4
    return np.clip(scores, ordered[cut], ordered[-1 - cut]) * len(ordered) / (len(ordered) - 2 * cut)


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
