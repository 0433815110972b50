"""The posterior over the latent variable against its definition, and how a trial draws from it."""

from __future__ import annotations

import pytest
import torch
from lines import Line, LineConfig
from torch import Generator
from torch.distributions import Normal

import envs
from envs import InputError
from metarl.policies.mlp import StepInput
from metarl.policies.posterior import PosteriorNetwork

DEVICE = torch.device("cpu")


def make(env=None, num_episodes=3, prior_episodes=1, sees_next=False):
    torch.manual_seed(0)
    env = env or Line(LineConfig(4), DEVICE)
    return PosteriorNetwork(env, num_episodes, prior_episodes, 2, (8,), (8,), "relu", 0.5, sees_next)


def transitions(count, dtype=torch.float32):
    g = Generator().manual_seed(1)
    obs, action = torch.randn(2, count, 1, generator=g), torch.rand(2, count, 1, generator=g) * 2 - 1
    return obs.to(dtype), action.to(dtype), torch.randn(2, count, generator=g).to(dtype), obs.roll(1, 1).to(dtype)


def test_the_posterior_is_the_normalized_product_of_its_factors():
    """Multiplied on a grid, in float64."""
    network, given = make().double(), transitions(6, torch.float64)
    mean, variance = network.posterior(*given)
    raw = network.encoder(torch.cat([*given[:2], given[2].unsqueeze(-1)], -1))
    grid = torch.linspace(-20, 20, 40_001, dtype=torch.float64)
    for task in range(2):
        for k in range(2):
            means, variances = raw[task, :, k], torch.nn.functional.softplus(raw[task, :, 2 + k])
            logs = sum(Normal(m, v.sqrt()).log_prob(grid) for m, v in zip(means, variances, strict=True))
            weight = (logs - logs.max()).exp()
            weight /= weight.sum()
            expected = (weight * grid).sum()
            spread = (weight * (grid - expected).square()).sum()
            torch.testing.assert_close(mean[task, k], expected, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(variance[task, k], spread, rtol=1e-8, atol=1e-9)


def test_the_order_of_the_context_does_not_matter():
    network, given = make().double(), transitions(9, torch.float64)
    order = torch.randperm(9, generator=Generator().manual_seed(2))
    for found, expected in zip(
        network.posterior(*(x[:, order] for x in given)), network.posterior(*given), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sees_next", [False, True])
def test_a_trial_draws_z_from_the_prior_then_from_the_posterior_of_the_episodes_so_far(sees_next):
    """The second episode ends after two of its four steps, and what follows is padding.

    Where next observations are part of the context, the last transition of an episode is not.
    """
    network = make(sees_next=sees_next)
    g = Generator().manual_seed(3)
    obs, action, reward = torch.randn(12, 5, 1, generator=g), torch.rand(12, 5, 1, generator=g), torch.randn(12, 5)
    mask = torch.ones(12, 5)
    mask[6:8] = 0
    memory, seen = network.start(5, g), []
    noise = memory.noise
    for t in range(12):
        last = (action[t - 1], reward[t - 1]) if t else (torch.zeros(5, 1), torch.zeros(5))
        first = torch.full((5,), t % 4 == 0)
        outputs, memory = network.step(StepInput(obs[t], *last, first, mask[t]), memory)
        torch.testing.assert_close(outputs.mean, network.act(obs[t], memory.z).mean)
        seen.append(memory.z)
    assert torch.equal(seen[0], noise[:, 0]) and all(torch.equal(seen[0], z) for z in seen[1:4])
    assert torch.equal(seen[4], seen[7]) and torch.equal(seen[8], seen[11])
    for episode, steps in ((1, [0, 1, 2]), (2, [0, 1, 2, 4])) if sees_next else ((1, range(4)), (2, range(6))):
        given = (obs, action, reward, obs.roll(-1, 0))
        mean, variance = network.posterior(*(x[list(steps)].transpose(0, 1) for x in given))
        expected = mean + variance.sqrt() * noise[:, episode]
        torch.testing.assert_close(seen[4 * episode], expected, rtol=1e-4, atol=1e-5)


def test_first_episodes_may_all_draw_from_the_prior():
    network, memory = make(prior_episodes=2), make(prior_episodes=2).start(1, Generator().manual_seed(0))
    noise, one = memory.noise, torch.ones(1)
    for t in range(9):
        _, memory = network.step(StepInput(one[None], one[None], one, one > 0, one), memory)
        if t in (0, 4):
            assert torch.equal(memory.z, noise[:, t // 4])
    assert not torch.allclose(memory.z, noise[:, 2])


def test_actions_lie_between_the_bounds():
    env = envs.make("point")
    network = make(env)
    distribution = network.act(torch.randn(50, 2), 100 * torch.randn(50, 2))
    assert distribution.sample(Generator().manual_seed(0)).abs().max() <= 1
    assert torch.equal(network.unit_action(torch.tensor([[2.0, -0.5]])), torch.tensor([[1.0, -0.5]]))


@pytest.mark.parametrize("family", ["gridworld", "bernoulli-bandit"])
def test_discrete_actions_are_refused(family, sentence):
    with pytest.raises(InputError) as error:
        make(envs.make(family))
    assert "continuous actions" in sentence(error)


def test_a_longer_trial_is_refused(sentence):
    with pytest.raises(InputError) as error:
        make().check_length(13)
    assert "num_episodes" in sentence(error)


def test_the_context_has_next_observations_where_it_is_asked_to():
    given = transitions(5)
    for sees_next in (False, True):
        network = make(sees_next=sees_next)
        found, other = network.posterior(*given)[0], network.posterior(*given[:3], given[3] + 1)[0]
        assert torch.equal(found, other) != sees_next
