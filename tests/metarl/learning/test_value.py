"""The value network learns returns that can be told from observation and time, whatever their unit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator

from metarl.algorithms.inner import InnerLoss
from metarl.learning.advantage import advantages, discounted_sum
from metarl.learning.rollout import Trajectory
from metarl.learning.value import ValueNetwork

HORIZON = 8


def experience(seed=0, scale=1.0, offset=0.0, dtype=torch.float32) -> Trajectory:
    """Each lane earns at every step what its constant observation says; episodes end after 3 steps or more."""
    generator = Generator().manual_seed(seed)
    level = torch.rand(4, 1, 6, 1, generator=generator, dtype=dtype).expand(4, HORIZON, 6, 1)
    length = torch.randint(3, HORIZON + 1, (4, 1, 6), generator=generator)
    length[:2] = HORIZON
    mask = (torch.arange(HORIZON).view(1, -1, 1) < length).to(dtype)
    obs = torch.cat([level, length.unsqueeze(-1).expand_as(level).to(dtype) / HORIZON], -1)
    reward = (scale * level.squeeze(-1) + offset) * mask
    return Trajectory(obs, torch.zeros(4, HORIZON, 6), reward, mask, torch.zeros(4, HORIZON, 6, dtype=torch.bool))


def network(seed=0, lr=1e-2) -> ValueNetwork:
    return ValueNetwork(2, HORIZON, 0.9, lr, Generator().manual_seed(seed))


def fit(value, times, generator=None, **fields):
    generator = generator or Generator().manual_seed(1)
    return [value.fit([experience(seed, **fields)], 10, generator) for seed in range(times)]


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1000.0, -3000.0), (1e-3, 5e-4)])
def test_it_learns_predictable_returns_in_any_unit(scale, offset):
    value = network()
    explained = fit(value, 25, scale=scale, offset=offset)
    assert explained[0] < 0.5
    assert min(explained[-3:]) > 0.95
    fresh = experience(99, scale, offset)
    target, keep = discounted_sum(fresh.reward, 0.9), fresh.mask.bool()
    error = (value(fresh) - target)[keep]
    assert float(error.square().mean()) < 0.05 * float(target[keep].var())
    with_it, without = (
        advantages(fresh, 0.9, 1.0, f)[keep].square().mean() for f in (value, lambda t: torch.zeros_like(t.reward))
    )
    assert with_it < 0.05 * without


def test_without_a_step_size_it_does_not_learn():
    """Only the shift and scale of the targets move."""
    value = network(lr=0.0)
    before = [p.clone() for p in value.module.parameters()]
    fit(value, 2)
    assert all(torch.equal(a, b) for a, b in zip(before, value.module.parameters(), strict=True))
    trained = network()
    fit(trained, 1)
    assert not any(torch.equal(a, b) for a, b in zip(before, trained.module.parameters(), strict=True))


def test_what_follows_an_end_teaches_nothing():
    trajectory, other = experience(), experience()
    other.obs[other.mask == 0] = 7.0
    assert not torch.equal(trajectory.obs, other.obs)
    a, b = network(), network()
    results = [v.fit([t], 3, Generator().manual_seed(2)) for v, t in ((a, trajectory), (b, other))]
    assert results[0] == results[1]
    assert torch.equal(a(trajectory), b(trajectory))
    torch.testing.assert_close(advantages(trajectory, 0.9, 0.9, a), advantages(other, 0.9, 0.9, a))


def test_time_counts_from_the_start_of_each_episode():
    one = experience()
    two = Trajectory.cat([one, one], 1)
    value = network()
    torch.testing.assert_close(value(two), torch.cat([value(one), value(one)], 1))
    still = value(one)[0, :, 0]
    assert float((still[1:] - still[:-1]).abs().min()) > 0


def test_a_state_goes_on_to_the_bit():
    straight, stopped = network(), network()
    generators = [Generator().manual_seed(1) for _ in range(2)]
    fit(straight, 2, generators[0])
    fit(stopped, 2, generators[1])
    again = network(seed=5)
    again.load_state_dict(stopped.state_dict())
    assert fit(straight, 3, generators[0]) == fit(again, 3, generators[1])
    assert torch.equal(straight(experience()), again(experience()))
    assert (again.fitted, again.shift, again.scale) == (5, straight.shift, straight.scale)


def test_float64_trajectories_give_the_same_values():
    single, double = network(), network()
    trajectory, twin = experience(), experience().map(lambda x: x.double() if x.is_floating_point() else x)
    explained = [v.fit([t], 2, Generator().manual_seed(3)) for v, t in ((single, trajectory), (double, twin))]
    assert explained[0] == pytest.approx(explained[1], abs=1e-5)
    assert double(twin).dtype == torch.float64
    torch.testing.assert_close(double(twin).float(), single(trajectory), rtol=1e-4, atol=1e-4)


def test_the_inner_loss_takes_its_advantages_from_it():
    value, trajectory = network(), experience()
    fit(value, 3)
    ours, linear = (InnerLoss(0.9, 0.5, value_function=f).advantage(trajectory) for f in (value, None))
    raw = advantages(trajectory, 0.9, 0.5, value)[trajectory.mask.bool()]
    kept = ours[trajectory.mask.bool()]
    assert torch.corrcoef(torch.stack([raw, kept]))[0, 1] > 0.5
    assert not torch.allclose(ours, linear)


def test_targets_are_scaled_by_a_running_mean_and_deviation():
    """Of all fits at first, and of about the last ten later."""
    value, generator = network(lr=0.0), Generator().manual_seed(1)

    def moments(trajectory):
        target = discounted_sum(trajectory.reward, 0.9)[trajectory.mask.bool()]
        return target.mean(), target.std()

    data = [experience(seed) for seed in range(12)]
    for count, trajectory in enumerate(data, 1):
        value.fit([trajectory], 1, generator)
        if count in (1, 4):
            means, stds = zip(*map(moments, data[:count]), strict=True)
            torch.testing.assert_close(value.shift, torch.stack(means).mean())
            torch.testing.assert_close(value.scale, torch.stack(stds).mean())
    before, other = value.shift.clone(), experience(20, 100.0)
    value.fit([other], 1, generator)
    torch.testing.assert_close(value.shift, torch.lerp(before, moments(other)[0], 0.1))


def test_time_is_told_as_a_fraction_of_the_episode():
    """Half-way through, an episode of any length looks the same."""
    short, long = (
        ValueNetwork(2, horizon, 0.9, 1e-2, Generator().manual_seed(0)) for horizon in (HORIZON, 2 * HORIZON)
    )
    one = experience()
    slow = Trajectory.cat([one, one], 1).map(lambda x: x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2))
    torch.testing.assert_close(long(slow)[:, ::2], short(one))


def test_returns_without_variance_are_no_error():
    value, flat = network(), experience(scale=0.0)
    assert all(math.isfinite(value.fit([flat], 3, Generator().manual_seed(1))) for _ in range(2))


def test_every_step_teaches_whatever_the_order_of_tasks():
    one, other, trajectory = network(), network(), experience()
    for value, t in ((one, trajectory), (other, trajectory[[3, 2, 1, 0]])):
        value.fit([t], 3, Generator().manual_seed(1))
    torch.testing.assert_close(one(trajectory), other(trajectory), rtol=1e-5, atol=1e-5)
