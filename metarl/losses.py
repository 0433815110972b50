"""Losses: pure functions that return one number a task, [N]."""

from __future__ import annotations

from torch import Tensor

from metarl.distributions import Distribution


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over a task's valid steps: [N, T, E] -> [N]."""
    return (x * mask).sum((1, 2)) / mask.sum((1, 2))


def policy_gradient(distribution: Distribution, action: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    """Negative log-likelihood weighted by the advantage (Finn et al. 2017, eq. 4)."""
    return -masked_mean(distribution.log_prob(action) * advantage, mask)


def surrogate(
    distribution: Distribution, action: Tensor, advantage: Tensor, mask: Tensor, old_log_prob: Tensor
) -> Tensor:
    """Negative importance-weighted advantage (Schulman et al. 2015, eq. 14)."""
    ratio = (distribution.log_prob(action) - old_log_prob).exp()
    return -masked_mean(ratio * advantage, mask)


def kl_divergence(old: Distribution, new: Distribution, mask: Tensor) -> Tensor:
    """Mean KL(old || new) over a task's states."""
    return masked_mean(old.kl(new), mask)
