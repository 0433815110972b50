"""GAE and the linear baseline against numbers worked out by hand and against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metarl.learning.advantage import (
    advantages,
    constant_baseline,
    cross_fitted_baseline,
    discounted_sum,
    gae,
    linear_baseline,
    linear_features,
    linear_weights,
    standardize,
)
from metarl.learning.rollout import Trajectory


def lanes(*rows):
    """Rows of T numbers -> [1, T, E] float64."""
    return torch.tensor(rows, dtype=torch.float64).T.unsqueeze(0)


def test_discounted_sum_by_hand():
    torch.testing.assert_close(discounted_sum(lanes([1, 2, 3]), 0.5), lanes([1 + 1 + 0.75, 2 + 1.5, 3]))
    torch.testing.assert_close(discounted_sum(lanes([5]), 0.5), lanes([5]))


def test_gae_by_hand():
    """γ = 0.5, λ = 0.5. Lane 0 runs to the horizon, lane 1 terminates at its second step."""
    reward, value = lanes([1, 2, 3], [1, 2, 0]), lanes([2, 4, 6], [2, 4, 100])
    mask = lanes([1, 1, 1], [1, 1, 0])
    # deltas of lane 0: 1 + 2 - 2 = 1, 2 + 3 - 4 = 1, 3 + 0 - 6 = -3; of lane 1: 1 + 2 - 2 = 1, 2 + 0 - 4 = -2
    expected = lanes([1 + 0.25 * (1 - 0.75), 1 - 0.75, -3], [1 - 0.5, -2, 0])
    torch.testing.assert_close(gae(reward, value, mask, 0.5, 0.5), expected)


def test_gae_with_lambda_1_is_the_return_minus_the_baseline():
    generator = torch.Generator().manual_seed(0)
    reward, value = (torch.randn(2, 7, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.ones_like(reward)
    torch.testing.assert_close(gae(reward, value, mask, 0.9, 1.0), discounted_sum(reward, 0.9) - value)


def test_linear_features_by_hand():
    """Observations are clipped to ±10, and time is in hundreds of steps."""
    found = linear_features(torch.tensor([[[[0.5, -20.0]], [[12.0, 3.0]]]], dtype=torch.float64))
    expected = [[[0.5, -10, 0.25, 100, 0, 0, 0, 1]], [[10, 3, 100, 9, 1e-2, 1e-4, 1e-6, 1]]]
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float64))


def test_the_ridge_is_relative_to_the_scale_of_a_feature():
    """A ridge of 1 halves the weight of a feature alone, whatever its scale; one that is 0 gets none."""
    x = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 1e3, 0.0]]], dtype=torch.float64)
    weights = linear_weights(x, torch.tensor([[[4.0], [5e3]]], dtype=torch.float64), ridge=1.0)
    torch.testing.assert_close(weights, torch.tensor([[[1.0], [2.5], [0.0]]], dtype=torch.float64))


def test_linear_baseline_equals_numpy_lstsq_on_valid_steps():
    generator = torch.Generator().manual_seed(1)
    n, horizon, num_envs = 3, 20, 15
    obs = torch.randn(n, horizon, num_envs, 2, generator=generator, dtype=torch.float64)
    target = torch.randn(n, horizon, num_envs, generator=generator, dtype=torch.float64) + obs[..., 0]
    length = torch.randint(5, horizon + 1, (n, 1, num_envs), generator=generator)
    mask = (torch.arange(horizon).view(1, -1, 1) < length).double()
    value = linear_baseline(obs, target * mask, mask, ridge=0.0)
    for i in range(n):
        valid = mask[i].bool().numpy()
        time = np.broadcast_to(np.arange(horizon)[:, None] / 100, (horizon, num_envs))[valid]
        o = obs[i].numpy()[valid]
        features = np.column_stack([o, o**2, time, time**2, time**3, np.ones_like(time)])
        weights, *_ = np.linalg.lstsq(features, target[i].numpy()[valid], rcond=None)
        np.testing.assert_allclose(value[i].numpy()[valid], features @ weights, rtol=1e-4, atol=1e-4)
        assert np.all(value[i].numpy()[~valid] == 0)


def test_default_ridge_hardly_moves_the_fit():
    generator = torch.Generator().manual_seed(2)
    obs = torch.randn(1, 30, 20, 2, generator=generator, dtype=torch.float64)
    target = torch.randn(1, 30, 20, generator=generator, dtype=torch.float64)
    mask = torch.ones_like(target)
    difference = linear_baseline(obs, target, mask) - linear_baseline(obs, target, mask, ridge=0.0)
    assert difference.abs().max() < 1e-2 * target.std()


def test_baseline_survives_features_that_are_constant():
    """At a start state that never moves, the features are collinear; the fit must stay finite."""
    obs = torch.zeros(1, 5, 4, 2)
    target = torch.full((1, 5, 4), -3.0)
    value = linear_baseline(obs, target, torch.ones_like(target))
    torch.testing.assert_close(value, target, rtol=1e-3, atol=1e-3)


def uneven_advantages():
    """Two tasks, the second with 100 times the spread; episodes of random lengths."""
    generator = torch.Generator().manual_seed(3)
    length = torch.randint(3, 9, (2, 1, 6), generator=generator)
    mask = (torch.arange(8).view(1, -1, 1) < length).double()
    advantage = torch.randn(2, 8, 6, generator=generator, dtype=torch.float64) + 5
    return advantage * torch.tensor([1.0, 100.0]).view(2, 1, 1) * mask, mask


@pytest.mark.parametrize("over_tasks", [False, True])
def test_standardized_advantages_have_mean_0_and_deviation_1_over_valid_steps(over_tasks):
    advantage, mask = uneven_advantages()
    result = standardize(advantage, mask, over_tasks)
    assert over_tasks or torch.equal(result, standardize(advantage, mask))
    valid = [result[i][mask[i].bool()] for i in range(2)]
    for i in range(2):
        assert float(valid[i].mean()) == pytest.approx(0, abs=1e-6)
        assert torch.all(result[i][~mask[i].bool()] == 0)
    variance = [float(v.var(correction=0)) for v in valid]
    if over_tasks:
        assert sum(variance) / 2 == pytest.approx(1, abs=1e-6)
        assert variance[1] / variance[0] > 1000, "tasks keep their relative weight"
    else:
        assert variance == pytest.approx([1, 1], abs=1e-6)


def test_advantages_of_equal_rewards_vanish():
    """When every lane earns the same at every time, a baseline that knows the time leaves nothing."""
    reward = torch.arange(6.0, dtype=torch.float64).view(1, 6, 1).expand(1, 6, 4) / 6
    ones = torch.ones_like(reward)
    trajectory = Trajectory(
        torch.zeros(1, 6, 4, 2, dtype=torch.float64), torch.zeros(1, 6, 4, 2), reward, ones, ones.bool()
    )
    assert advantages(trajectory, 1.0, 1.0).abs().max() < 0.05


def noisy(num_envs: int, horizon: int = 10):
    """Observations [64, T, E, 3], rewards that nothing predicts, and a mask that ends some episodes early."""
    generator = torch.Generator().manual_seed(3)
    obs, target = (torch.randn(64, horizon, num_envs, k, generator=generator).double() for k in (3, 1))
    last = torch.randint(3, horizon + 1, (64, 1, num_envs), generator=generator)
    return obs, target.squeeze(-1), (torch.arange(horizon)[None, :, None] < last).double()


def test_the_constant_baseline_is_the_mean_return_of_the_other_episodes():
    target, mask = lanes([1, 2], [3, 5], [4, 100]), lanes([1, 1], [1, 1], [1, 0])
    expected = lanes([4, 4], [7 / 3, 7 / 3], [11 / 4, 0])
    torch.testing.assert_close(constant_baseline(target, mask), expected)
    torch.testing.assert_close(constant_baseline(lanes([1, 2]), lanes([1, 1])), lanes([1.5, 1.5]))


def test_a_cross_fitted_value_is_that_of_a_linear_fit_to_the_other_episodes():
    obs, target, mask = noisy(6)
    value = cross_fitted_baseline(obs, target * mask, mask)
    others = [k for k in range(6) if k != 2]
    x, weight = linear_features(obs), mask.unsqueeze(-1)
    fit = linear_weights(
        (x * weight)[:, :, others].flatten(1, 2), (target * mask)[:, :, others].flatten(1, 2)[..., None]
    )
    torch.testing.assert_close(value[:, :, 2], (x[:, :, 2] @ fit).squeeze(-1) * mask[:, :, 2])


def test_no_return_enters_its_own_value():
    """What the linear baseline takes from returns that nothing predicts is their own noise."""
    obs, target, mask = noisy(6)
    own, other = (f(obs, target * mask, mask) for f in (linear_baseline, cross_fitted_baseline))
    left, kept = (((target - value) * mask).square().sum() / mask.sum() for value in (own, other))
    assert left < 0.85 < 1 < kept, "the variance is 1"
    changed = target.clone()
    changed[:, :, 0] += 9
    torch.testing.assert_close(cross_fitted_baseline(obs, changed * mask, mask)[:, :, 0], other[:, :, 0])


@pytest.mark.parametrize(("num_envs", "horizon"), [(1, 10), (2, 12)])
def test_few_other_steps_leave_their_mean(num_envs, horizon):
    obs, target, mask = noisy(num_envs, horizon)
    value = cross_fitted_baseline(obs, target * mask, mask)
    torch.testing.assert_close(value, constant_baseline(target * mask, mask))
