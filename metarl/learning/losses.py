"""Losses: pure functions that return one number per task, [N]."""

from __future__ import annotations

import torch
from torch import Tensor

from metarl.policies.distributions import Distribution


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


def clipped(ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """The advantage weighted by the likelihood ratio, which counts up to 1 ± clip (Schulman et al. 2017, eq. 7)."""
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def clipped_surrogate(
    distribution: Distribution, action: Tensor, advantage: Tensor, mask: Tensor, old_log_prob: Tensor, clip: float
) -> Tensor:
    """Negative clipped importance-weighted advantage (Schulman et al. 2017, eq. 7)."""
    ratio = (distribution.log_prob(action) - old_log_prob).exp()
    return -masked_mean(clipped(ratio, advantage, clip), mask)


def dice(distribution: Distribution, action: Tensor, advantage: Tensor, mask: Tensor, old_log_prob: Tensor) -> Tensor:
    """Loaded DiCE: advantages weighted by what an action adds to the likelihood ratio of its whole past.

    With W[t] the ratio of all actions up to t, the weight of step t is W[t] - W[t - 1] + 1 (Farquhar et al. 2019,
    eq. 13, with λ = 1). Its value and gradient at the old policy are those of `surrogate`; all its derivatives are
    unbiased there, given the right advantages.
    """
    log_ratio = (distribution.log_prob(action) - old_log_prob) * mask
    past = log_ratio.cumsum(1)
    weight = past.exp() - (past - log_ratio).exp() + 1
    return -masked_mean(weight * advantage, mask)


def kl_divergence(old: Distribution, new: Distribution, mask: Tensor) -> Tensor:
    """Mean KL(old || new) over a task's states."""
    return masked_mean(old.kl(new), mask)
