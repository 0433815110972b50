"""Trust-region step: conjugate gradient and back-tracking line search (Schulman et al. 2015, appendix C)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], b: Tensor, iterations: int, residual_tol: float = 1e-10
) -> tuple[Tensor, Tensor]:
    """Approximate x with product(x) = b for a symmetric positive definite linear map of [P].

    Returns:
        x, and the residual b - product(x) that the recursion carries along.
    """
    x = torch.zeros_like(b)
    residual, direction = b.clone(), b.clone()
    rr = residual @ residual
    for _ in range(iterations):
        solved = rr < residual_tol  # then nothing moves any more, without a decision of the host
        image = product(direction)
        step = torch.where(solved, 0.0, rr / (direction @ image))
        x = x + step * direction
        residual = residual - step * image
        rr, previous = residual @ residual, rr
        direction = residual + torch.where(solved, 0.0, rr / previous) * direction
    return x, residual


def line_search(
    evaluate: Callable[[Tensor], Tensor],
    params: Tensor,
    full_step: Tensor,
    old_loss: float,
    max_kl: float,
    steps: int,
    shrink: float,
) -> tuple[Tensor, dict[str, float]]:
    """The first of params - shrink^k * full_step that lowers the loss with KL <= max_kl, or params unchanged.

    Args:
        evaluate: params [P] -> [loss, KL to the old policy].

    Returns:
        New params and `{loss, kl, step}`, where step is shrink^k, or 0 when no step was accepted.
    """
    for k in range(steps):
        fraction = shrink**k
        candidate = params - fraction * full_step
        loss, kl = evaluate(candidate).tolist()
        if loss < old_loss and kl <= max_kl:
            return candidate, {"loss": loss, "kl": kl, "step": fraction}
    return params, {"loss": old_loss, "kl": 0.0, "step": 0.0}
