"""Estimates of a mean and an interquartile mean, and their intervals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from metarl.evaluation.estimate import (
    Estimate,
    bootstrap_ci,
    estimate,
    estimate_by_errors,
    interquartile_mean,
    interval_over_runs,
)


def test_the_interquartile_mean_by_hand():
    assert interquartile_mean(np.array([100.0, 1.0, 2.0, -50.0])) == 1.5
    assert interquartile_mean(np.array([1.0, 2.0, 3.0])) == 2.0  # a quarter of three tasks is less than one
    assert interquartile_mean(np.array([7.0])) == 7.0
    columns = np.array([[0.0, 9.0], [1.0, 5.0], [3.0, 1.0], [9.0, 4.0]])
    np.testing.assert_array_equal(interquartile_mean(columns), [2.0, 4.5])
    np.testing.assert_array_equal(interquartile_mean(columns.T, axis=1), [2.0, 4.5])


def test_the_bootstrap_interval_is_the_percentiles_of_resampled_statistics():
    x = np.random.default_rng(1).normal(size=60)
    draws = np.random.default_rng(2).choice(x, (20_000, 60))
    for statistic, resampled in ((np.mean, draws.mean(1)), (interquartile_mean, interquartile_mean(draws, 1))):
        np.testing.assert_allclose(bootstrap_ci(x, statistic), np.quantile(resampled, [0.025, 0.975]), atol=0.02)
    standard_error = x.std() / np.sqrt(60)
    np.testing.assert_allclose(
        bootstrap_ci(x, np.mean), x.mean() + 1.96 * standard_error * np.array([-1, 1]), atol=0.02
    )


def test_the_bootstrap_interval_is_repeatable_and_narrows_with_more_tasks():
    x = np.random.default_rng(3).normal(size=1000)
    assert bootstrap_ci(x, np.mean) == bootstrap_ci(x, np.mean)
    widths = [np.ptp(bootstrap_ci(x[:n], np.mean)) for n in (40, 1000)]
    assert widths[1] < widths[0] / 3


@pytest.mark.parametrize("x", [[2.5], [2.5, 2.5, 2.5]])
def test_equal_values_are_their_own_interval(x):
    assert bootstrap_ci(np.array(x), np.mean) == [2.5, 2.5]


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


@pytest.mark.parametrize("shape", [(1, 9), (3, 9), (1, 9, 4), (3, 9, 4)])
def test_json_has_the_five_names_and_reads_back(shape):
    scores = np.random.default_rng(4).normal(size=shape)
    written = json.loads(json.dumps(estimate(scores).to_json()))
    assert list(written) == ["mean", "mean_ci95", "iqm", "iqm_ci95", "std"]
    assert Estimate.from_json(written, *shape[2:]).to_json() == written
    np.testing.assert_allclose(written["mean"], scores.mean((0, 1)))
    assert np.shape(written["iqm_ci95"]) == (*shape[2:], 2)
    if len(shape) == 3:
        alone = estimate(scores[..., 2]).to_json()
        for name, values in estimate(scores)[2].to_json().items():
            np.testing.assert_allclose(values, alone[name])


@pytest.mark.parametrize(("name", "values"), [("mean", [1.0]), ("iqm_ci95", [0.0, 1.0]), ("iqm", [1.0, float("nan")])])
def test_what_is_of_another_shape_or_not_finite_is_refused(name, values):
    written = estimate(np.arange(6.0).reshape(1, 3, 2)).to_json()
    with pytest.raises(ValueError, match=name):
        Estimate.from_json({**written, name: values}, 2)


def test_a_file_without_the_standard_deviation_can_be_read():
    written = estimate(np.arange(3.0)[None]).to_json()
    del written["std"]
    assert Estimate.from_json(written).to_json() == written


def test_standard_errors_and_the_bootstrap_agree_on_many_scores():
    x = np.random.default_rng(5).normal(size=(2000, 2))
    quick, slow = estimate_by_errors(x).to_json(), estimate(x[None]).to_json()
    for key in quick:
        np.testing.assert_allclose(quick[key], slow[key], atol=0.01)
