"""Learning rates of a run, gradients as one vector, and steps by them."""

from __future__ import annotations

import pytest
import torch

from metarl.learning.descent import descend, flat_gradient, lr_at, scaled_down


def test_the_learning_rate_rises_and_then_falls_to_0():
    rates = [lr_at(2.0, update, 10, 0.2) for update in range(11)]
    assert rates == pytest.approx([1.0, 1.8, 1.6, 1.4, 1.2, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0])
    assert lr_at(2.0, 0, 10, 0.0) == 2.0


def test_a_step_by_a_gradient_in_one_vector():
    parameters = [
        torch.ones(2, requires_grad=True),
        torch.ones(3, requires_grad=True),
        torch.ones(1, requires_grad=True),
    ]
    gradient = flat_gradient(3 * parameters[0].sum() + 4 * parameters[2].sum(), parameters)
    assert gradient.tolist() == [3, 3, 0, 0, 0, 4]
    half = scaled_down(gradient, gradient.norm(), float(gradient.norm()) / 2)
    torch.testing.assert_close(half, gradient / 2)
    assert scaled_down(gradient, gradient.norm(), 100.0).equal(gradient)
    descend(torch.optim.SGD(parameters, 0.1), parameters, gradient)
    assert [x.item() for x in torch.cat(parameters).detach()] == pytest.approx([0.7, 0.7, 1, 1, 1, 0.6])
