"""The written-out derivatives of the MLP against automatic differentiation, for Gaussian and categorical heads."""

from __future__ import annotations

import pytest
import torch
from small_policies import ACTIONS, setup

from metarl.learning import losses
from metarl.learning.linearize import AutogradLinearization, MLPLinearization, linearize


@pytest.mark.parametrize("hidden", [(), (6,), (6, 5), (4, 5, 6)])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("head", ACTIONS)
@pytest.mark.parametrize("tables", [False, True])
def test_mlp_derivatives_equal_autograd(head, activation, hidden, tables, monkeypatch):
    monkeypatch.setattr("metarl.learning.linearize.FEWEST_SAMPLES", 0 if tables else 1000)
    monkeypatch.setattr("metarl.learning.sweeps.FEWEST_SAMPLES", 0 if tables else 1000)
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
        (g1, h1), (g2, h2) = fast.hessian(objective, many=tables), plain.hessian(objective)
        torch.testing.assert_close(g1, g2, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(fast.gradient(objective), g2, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(h1(vector), h2(vector), rtol=1e-9, atol=1e-11)
        if stationary:
            torch.testing.assert_close(fast.gauss_newton(objective)(vector), h2(vector), rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(fast.distribution.log_prob(action), old.log_prob(action))


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


@pytest.mark.parametrize("kind", [MLPLinearization, AutogradLinearization])
def test_derivatives_carry_no_graph_and_can_be_asked_for_again(kind):
    policy, params, inputs, _, (action, advantage, mask), generator = setup("gaussian")
    vector = torch.randn(params.shape, generator=generator, dtype=torch.float64)

    def objective(distribution):
        return losses.policy_gradient(distribution, action, advantage, mask)

    for given in (params, params.clone().requires_grad_()):
        needed, here = given.requires_grad, kind(policy, given, inputs)
        gradient, product = here.hessian(objective)
        found = [here.gradient(objective), here.gradient(objective), gradient, product(vector), product(vector)]
        assert not any(x.requires_grad for x in found)
        assert torch.equal(found[0], found[1]) and torch.equal(found[3], found[4])
        assert given.requires_grad == needed
