"""The written-out derivatives of the MLP against automatic differentiation, for Gaussian and categorical heads."""

from __future__ import annotations

import pytest
import torch
from gymnasium import spaces
from torch import Generator, nn

from metarl.learning import losses
from metarl.learning.linearize import AutogradLinearization, MLPLinearization, linearize
from metarl.policies.mlp import MLPConfig, ModulePolicy, StepInput, make_policy

N, T, E, O = 3, 4, 5, 2  # noqa: E741
ACTIONS = {"gaussian": spaces.Box(-1, 1, (3,)), "categorical": spaces.Discrete(4)}


def setup(head: str, activation: str = "tanh", hidden: tuple[int, ...] = (6, 5)):
    generator = Generator().manual_seed(0)
    action_space = ACTIONS[head]
    policy = make_policy(spaces.Box(-1, 1, (O,)), action_space, MLPConfig(hidden, activation))
    params = policy.init(generator) + 0.3 * torch.randn(N, policy.num_parameters, generator=generator)
    obs = torch.randn(N, T, E, O, generator=generator, dtype=torch.float64)
    zeros = torch.zeros(N, T, E, dtype=torch.float64)
    inputs = StepInput(obs, zeros, zeros, zeros.bool(), zeros + 1)
    distribution, _ = policy.bind(params.double())(inputs, None)
    action = distribution.sample(generator)
    advantage = torch.randn(N, T, E, generator=generator, dtype=torch.float64)
    mask = (torch.rand(N, T, E, generator=generator) < 0.8).double()
    return policy, params.double(), inputs, distribution, (action, advantage, mask), generator


@pytest.mark.parametrize("hidden", [(), (6,), (6, 5), (4, 5, 6)])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("head", ACTIONS)
def test_mlp_derivatives_equal_autograd(head, activation, hidden):
    policy, params, inputs, old, (action, advantage, mask), generator = setup(head, activation, hidden)
    vector = torch.randn(params.shape, generator=generator, dtype=torch.float64)
    cases = [
        (lambda d: losses.policy_gradient(d, action, advantage, mask), False),
        (lambda d: losses.surrogate(d, action, advantage, mask, old.log_prob(action) + 0.1), False),
        (lambda d: losses.kl_divergence(old, d, mask), True),
        (lambda d: losses.policy_gradient(d, action, advantage, mask) - losses.masked_mean(d.entropy(), mask), False),
    ]
    for objective, stationary in cases:
        fast, plain = (kind(policy, params, inputs) for kind in (MLPLinearization, AutogradLinearization))
        (g1, h1), (g2, h2) = fast.hessian(objective, stationary), plain.hessian(objective)
        torch.testing.assert_close(g1, g2, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(fast.gradient(objective), g2, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(h1(vector), h2(vector), rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(fast.distribution.log_prob(action), old.log_prob(action))


@pytest.mark.parametrize("head", ACTIONS)
def test_a_module_policy_with_the_same_weights_is_the_same_policy(head):
    policy, params, inputs, old, (action, advantage, mask), _ = setup(head)
    sizes = policy.sizes
    module = nn.Sequential(nn.Linear(sizes[0], sizes[1]), nn.Tanh(), nn.Linear(sizes[1], sizes[2]), nn.Tanh(),
                           nn.Linear(sizes[2], sizes[3])).double()  # fmt: skip
    layers, free = policy.unflatten(params)
    vector = torch.cat([part.flatten(1) for layer in layers for part in (layer[..., :-1], layer[..., -1])] + [free], -1)
    other = ModulePolicy(module, ACTIONS[head])
    assert other.num_parameters == policy.num_parameters
    distribution, _ = other.bind(vector)(inputs, None)
    torch.testing.assert_close(distribution.log_prob(action), old.log_prob(action))

    def objective(d):
        return losses.policy_gradient(d, action, advantage, mask)

    ours, theirs = (
        linearize(policy, params, inputs).gradient(objective),
        linearize(other, vector, inputs).gradient(objective),
    )
    torch.testing.assert_close(ours.square().sum(-1), theirs.square().sum(-1))


def test_tasks_do_not_mix():
    """A task's gradient and Hessian product do not move when another task's parameters do."""
    policy, params, inputs, _, (action, advantage, mask), generator = setup("gaussian")
    vector = torch.randn(params.shape, generator=generator, dtype=torch.float64)
    results = []
    for shift in (0.0, 1.0):
        moved = params.clone()
        moved[1] += shift
        gradient, product = linearize(policy, moved, inputs).hessian(
            lambda d: losses.policy_gradient(d, action, advantage, mask)
        )
        results.append((gradient, product(vector)))
    for before, after in zip(*results, strict=True):
        assert torch.equal(before[[0, 2]], after[[0, 2]])
        assert not torch.allclose(before[1], after[1])
