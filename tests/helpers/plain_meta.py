"""Gradient-based meta-learning by nothing but autograd: slow and easy to read, to hold the fast code against."""

from __future__ import annotations

import pytest
import torch

from metarl.algorithms.objective import TaskGroup
from metarl.algorithms.outer import TRPOConfig
from metarl.learning.advantage import advantages, standardize


def relative(a, b):
    return float((a - b).norm() / b.norm())


def central_difference(function, at, direction, step):
    return (function(at + step * direction) - function(at - step * direction)) / (2 * step)


def random_like(x, seed=0):
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)


def average(x, mask):
    return (x * mask).sum((1, 2)) / mask.sum((1, 2))


def inner_loss(estimator, distribution, old, trajectory, advantage):
    """The inner loss [N] that `estimator` differentiates twice, as the papers write it."""
    log_prob, mask = distribution.log_prob(trajectory.action), trajectory.mask
    if estimator in ("naive", "first-order"):
        return -average(log_prob * advantage, mask)
    ratio = (log_prob - old.log_prob(trajectory.action)).exp()
    if estimator == "lvc":
        return -average(ratio * advantage, mask)
    loss, past = 0.0, torch.ones_like(ratio[:, 0])
    for t in range(ratio.shape[1]):
        now = torch.where(mask[:, t] > 0, past * ratio[:, t], past)
        loss = loss - ((now - past + 1) * advantage[:, t] * mask[:, t]).sum(1)
        past = now
    return loss / mask.sum((1, 2))


def rates(problem, meta):
    """The inner step size of each parameter [P], or one for all."""
    config, policy = problem.algorithm.config, problem.policy
    learned = meta[policy.num_parameters :]
    if config.learned_rates == "none":
        return config.inner_lr
    if config.learned_rates == "parameter":
        return learned
    return torch.cat([rate.expand(size) for rate, size in zip(learned, policy.tensor_sizes, strict=True)])


def distributions(problem, meta, old=None, tasks=slice(None)):
    """Action distributions on the K + 1 trajectories, differentiable in the meta-parameters [M].

    `old` are those of the collecting parameters; without it, the ones found here.
    """
    config, policy = problem.algorithm.config, problem.policy
    trajectories = [t[tasks] for t in problem.trajectories]
    theta, found = meta[: policy.num_parameters].expand(len(trajectories[0]), -1), []
    for k, trajectory in enumerate(trajectories):
        distribution, _ = policy.bind(theta)(trajectory.inputs, None)
        found.append(distribution)
        if k + 1 < len(trajectories):
            raw = advantages(trajectory, config.gamma, config.gae_lambda, problem.algorithm.value, config.baseline)
            before = distribution.detach() if old is None else old[k]
            advantage = standardize(raw, trajectory.mask)
            loss = inner_loss(config.estimator, distribution, before, trajectory, advantage)
            loss = loss - config.entropy_coef * average(distribution.entropy(), trajectory.mask)
            second_order = config.estimator != "first-order"
            gradient = torch.autograd.grad(loss.sum(), theta, create_graph=second_order, retain_graph=True)[0]
            theta = theta - rates(problem, meta) * gradient
    return found


def old_distributions(problem, tasks=slice(None)):
    meta = problem.algorithm.meta.clone().requires_grad_()
    return [d.detach() for d in distributions(problem, meta, tasks=tasks)]


def outer_advantage(problem):
    config, outer = problem.algorithm.config, problem.trajectories[-1]
    raw = advantages(outer, config.gamma, config.gae_lambda, problem.algorithm.value, config.baseline)
    return standardize(raw, outer.mask, over_tasks=config.outer_scale == "batch")


def outer_loss(problem, meta, clip=None, inner_kl_coef=0.0, tasks=slice(None)):
    """The (clipped) surrogate loss with entropy and the penalty on the inner KL, the outer KL and the inner KL: sums.

    Differentiable in the meta-parameters [M].
    """
    outer, advantage = problem.trajectories[-1][tasks], outer_advantage(problem)[tasks]
    old = old_distributions(problem, tasks)
    new = distributions(problem, meta, old, tasks)
    ratio = (new[-1].log_prob(outer.action) - old[-1].log_prob(outer.action)).exp()
    gain = ratio * advantage
    if clip is not None:
        gain = torch.minimum(gain, ratio.clamp(1 - clip, 1 + clip) * advantage)
    *inner_kl, kl = (
        average(a.kl(b), t[tasks].mask).sum() for a, b, t in zip(old, new, problem.trajectories, strict=True)
    )
    entropy = problem.algorithm.config.entropy_coef * average(new[-1].entropy(), outer.mask)
    return -(average(gain, outer.mask) + entropy).sum() + inner_kl_coef * sum(inner_kl), kl, sum(inner_kl)


def outer_gradient(problem, meta, index=0, **settings):
    leaf = meta.detach().clone().requires_grad_()
    return torch.autograd.grad(outer_loss(problem, leaf, **settings)[index], leaf)[0]


def group_of(problem, tasks=slice(None), rates=None, meta=None, clip=None):
    a = problem.algorithm
    trajectories, advantage = [t[tasks] for t in problem.trajectories], outer_advantage(problem)[tasks]
    return TaskGroup(
        problem.policy, rates or a.rates, a.loss, a.meta if meta is None else meta, trajectories, advantage, clip
    )


def moved(problem, by=0.05):
    """Meta-parameters beside the collecting ones."""
    return problem.algorithm.meta + by * random_like(problem.algorithm.meta, seed=7)


# Enough for a step, and few enough to keep it comparable: on a problem this small, ten iterations of conjugate gradient
# make a difference in the last bit about 10^12 times as large.
FEW_ITERATIONS = TRPOConfig(cg_iterations=3)


def assert_same_step(problem, other, trajectories):
    """Two MAMLs with `FEW_ITERATIONS` agree up to rounding in the gradient, in the curvature and where a step leads.

    `other` learns from `trajectories`: those of `problem` on another device or in another order.
    """
    ours, theirs = (problem.algorithm, problem.trajectories), (other.algorithm, trajectories)
    before, after = (algorithm.objective(algorithm.meta, data) for algorithm, data in (ours, theirs))
    assert relative(after.gradient().cpu(), before.gradient()) < 1e-10
    for seed in range(3):
        vector = random_like(problem.algorithm.meta, seed)
        product = after.curvature()(vector.to(other.algorithm.meta.device))
        assert relative(product.cpu(), before.curvature()(vector)) < 1e-10
    metrics, found = (algorithm.update(data) for algorithm, data in (ours, theirs))
    assert metrics["step"] > 0 and found == pytest.approx(metrics, rel=1e-9)
    assert relative(other.algorithm.meta.cpu(), problem.algorithm.meta) < 1e-10
