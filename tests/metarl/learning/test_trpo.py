"""Conjugate gradient and line search."""

from __future__ import annotations

import torch

from metarl.learning.trpo import conjugate_gradient, line_search


def test_conjugate_gradient_solves_a_positive_definite_system():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    matrix, b = root @ root.T + torch.eye(12), torch.randn(12, generator=generator, dtype=torch.float64)
    x, residual = conjugate_gradient(lambda v: matrix @ v, b, iterations=40)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, b), rtol=1e-6, atol=1e-6)
    few, residual = conjugate_gradient(lambda v: matrix @ v, b, iterations=3)
    torch.testing.assert_close(residual, b - matrix @ few)
    assert residual.norm() < b.norm()


def test_conjugate_gradient_of_zero_is_zero():
    x, _ = conjugate_gradient(lambda v: 2 * v, torch.zeros(3), iterations=5)
    assert torch.equal(x, torch.zeros(3))


def search(evaluate, old_loss, max_kl=1.0):
    return line_search(evaluate, torch.tensor([1.0]), torch.tensor([1.0]), torch.tensor(old_loss), max_kl, 10, 0.5)


def test_line_search_takes_the_first_step_that_improves_within_the_trust_region():
    """Loss is x², KL the squared move: at steps 1 and 1/2 the KL is too large, at 1/4 both hold."""
    params, metrics = search(lambda p: torch.stack([p[0] ** 2, (p[0] - 1) ** 2]), 1.0, max_kl=0.1)
    assert params.item() == 0.75
    assert metrics == {"loss": 0.75**2, "kl": 0.25**2, "step": 0.25}


def test_line_search_keeps_the_parameters_when_nothing_helps():
    for values in ([2.0, 0.0], [1.0, 0.0], [float("nan"), 0.0], [0.0, float("nan")]):
        params, metrics = search(lambda p, values=values: torch.tensor(values), 1.0)
        assert params.item() == 1.0
        assert metrics == {"loss": 1.0, "kl": 0.0, "step": 0.0}
