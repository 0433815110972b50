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
    winsorized,
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


def test_the_interval_over_runs_by_hand():
    """Of three seeds with the same effect on every task, t(2) standard errors; one task says nothing of others."""
    for num_tasks in (1, 500):
        scores = np.array([[0.0], [10.0], [20.0]]) + np.zeros(num_tasks)
        half = 4.302653 * 10 / np.sqrt(3)
        np.testing.assert_allclose(interval_over_runs(scores.mean(), scores), [10 - half, 10 + half], rtol=1e-6)


def test_tasks_count_beside_seeds_and_noise_only_once():
    rng = np.random.default_rng(0)
    tasks, noise = rng.normal(size=400), rng.normal(size=(10, 400))
    width = lambda scores: np.ptp(interval_over_runs(scores.mean(), scores))  # noqa: E731
    alone = tasks + np.zeros((10, 1))
    np.testing.assert_allclose(width(alone), 2 * 1.965927 * tasks.std(ddof=1) / 20, rtol=1e-6)
    of_seeds = 2 * 2.262157 * noise.mean(1).std(ddof=1) / np.sqrt(10)
    np.testing.assert_allclose(width(noise), of_seeds, rtol=0.1)
    assert width(alone + noise) > width(alone)


def test_the_winsorized_scores_are_those_of_the_trimmed_mean_interval():
    """On independent scores, where scipy has it."""
    from scipy.stats.mstats import trimmed_mean_ci

    x = np.random.default_rng(1).normal(size=401)
    half = np.ptp(trimmed_mean_ci(x, (0.25, 0.25))) / 2
    error = winsorized(x[None]).std(ddof=1) / np.sqrt(401)
    np.testing.assert_allclose(half, 1.972 * error, rtol=0.01)  # t with as many degrees as scores are averaged


SEEDS = {
    "normal": lambda rng, size: rng.normal(size=size),
    "skewed": lambda rng, size: (4 - rng.gamma(4, size=size)) / 2,
    "a fifth fails": lambda rng, size: (rng.normal(size=size) - 2.5 * (rng.random(size) < 0.2) + 0.5) / np.sqrt(2),
}
"""Effects of seeds, of mean 0 and variance 1."""


@pytest.mark.parametrize("law", SEEDS)
@pytest.mark.parametrize(("seed", "task", "noise"), [(1, 2, 2), (1, 0.5, 0.5), (0.3, 2, 2), (0.1, 0.1, 2)])
def test_intervals_of_several_seeds_cover_what_they_say(law, seed, task, noise):
    """Mean and IQM of the law of scores, in 2,000 studies on 40 tasks whose effects are skewed."""
    rng = np.random.default_rng(0)

    def scores(runs, tasks, studies):
        effects = SEEDS[law](rng, (runs, 1, studies)), 1 - rng.exponential(size=(1, tasks, studies))
        return seed * effects[0] + task * effects[1] + noise * rng.normal(size=(runs, tasks, studies))

    truth = {"mean": 0.0, "iqm": interquartile_mean(scores(1, 1, 400_000).ravel())}
    for runs in (3, 5, 10):
        found = estimate(scores(runs, 40, 2000))
        for name, value in truth.items():
            low, high = getattr(found, f"{name}_ci95").T
            assert 0.93 <= np.mean((low <= value) & (value <= high)) <= 0.985, (runs, name)


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
