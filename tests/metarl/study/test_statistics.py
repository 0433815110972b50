"""Intervals over runs and tasks, and the probability of improvement."""

from __future__ import annotations

import numpy as np
import pytest

from metarl.study.statistics import interval_over_runs, probability_of_improvement


def test_the_interval_shows_what_a_seed_does_to_all_tasks():
    """Drawing each task's runs apart, it would be narrow around 10."""
    scores = np.array([[0.0], [10.0], [20.0]]) + np.zeros(500)
    assert interval_over_runs(scores, np.mean) == [0.0, 20.0]


def test_the_interval_covers_the_mean_of_the_law_as_often_as_a_bootstrap_of_six_can():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(40):
        low, high = interval_over_runs(rng.normal(size=(6, 1)) + 0.3 * rng.normal(size=(6, 8)), np.mean)
        hits += low <= 0 <= high
    assert 30 <= hits <= 39  # a percentile bootstrap of few is somewhat too narrow


def test_the_probability_of_improvement_by_hand():
    x, y = np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[2.0, 5.0], [0.0, 9.0]])
    # task 0: 1 > 0, 3 > 2, 3 > 0 of four pairs; task 1: two ties of four
    value, (low, high) = probability_of_improvement(x, y)
    assert value == (3 / 4 + 1 / 4) / 2
    assert 0 <= low < value < high <= 1
    assert probability_of_improvement(x + 100, y) == (1.0, [1.0, 1.0])
    value, (low, high) = probability_of_improvement(np.array([[1.0, 1.0, 1.0]]), np.array([[0.0, 0.0, 2.0]] * 2))
    assert value == pytest.approx(2 / 3) and (low, high) == (0.0, 1.0)  # a single run: tasks are drawn
