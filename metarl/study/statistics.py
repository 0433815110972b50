"""Statistics over runs and tasks, as in rliable.

Scores are runs × tasks, their interquartile mean is over all of them, and intervals are percentiles of a bootstrap over
runs in which each task keeps its number of scores (Agarwal et al. 2021, Deep RL at the Edge of the Statistical
Precipice). There a run is a training on one task; here one run plays every task, so it is drawn with all its scores:
drawing each task's runs apart would average away what a seed does to all tasks at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from metarl.evaluation.curve import bootstrap_ci, interquartile_mean, statistics_over_tasks


def interval_over_runs(scores: np.ndarray, statistic: Callable) -> list[float]:
    """95 % interval of a statistic over all of scores [R, T], from a bootstrap that draws whole runs."""

    @functools.cache  # few runs make few different draws
    def of(runs: tuple[int, ...]) -> float:
        return float(statistic(scores[list(runs)].ravel(), axis=0))

    def of_draws(runs: np.ndarray, axis: int) -> np.ndarray:
        return np.apply_along_axis(lambda draw: of(tuple(draw)), axis, np.sort(runs, axis=axis))

    return bootstrap_ci(np.arange(len(scores)), of_draws)


def statistics_over_runs(scores: np.ndarray) -> dict[str, Any]:
    """`mean`, `ci95` (of the mean), `iqm` and `iqm_ci95` of scores [R, T]; those of a single run are over its tasks."""
    if len(scores) == 1:
        return statistics_over_tasks(scores[0])
    return {
        "mean": float(scores.mean()),
        "ci95": bootstrap_ci(scores.mean(1), np.mean),
        "iqm": float(interquartile_mean(scores.ravel())),
        "iqm_ci95": interval_over_runs(scores, interquartile_mean),
    }


def probability_of_improvement(x: np.ndarray, y: np.ndarray, seed: int = 0) -> tuple[float, list[float]]:
    """How probably a run of x [R, T] earns more than one of y [S, T] on a task, and its 95 % interval.

    The mean over tasks of the Mann-Whitney statistic, in which a tie counts half (Agarwal et al. 2021, section 4.3).
    The bootstrap draws runs of both; where one of them has a single run, tasks.
    """
    from scipy.stats import bootstrap

    wins = (np.sign(x[:, None] - y[None]) + 1) / 2  # [R, S, T]
    if min(len(x), len(y)) == 1:
        return float(wins.mean()), bootstrap_ci(wins.mean((0, 1)), np.mean, seed)
    pairs = wins.mean(2)  # [R, S]

    def statistic(i: np.ndarray, j: np.ndarray, axis: int) -> np.ndarray:
        return pairs[i[..., :, None], j[..., None, :]].mean((-1, -2))

    rng = np.random.default_rng(seed)
    samples = np.arange(len(x)), np.arange(len(y))
    result = bootstrap(samples, statistic, n_resamples=2000, method="percentile", vectorized=True, rng=rng)
    return float(pairs.mean()), [float(result.confidence_interval.low), float(result.confidence_interval.high)]
