"""Gradient-based meta-learning by nothing but autograd: slow and easy to read, to hold the fast code against."""

from __future__ import annotations

import pytest
import torch

from metarl.algorithms.credit import outer_advantages, stage_weights
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
    if estimator in ("naive", "first-order", "e-maml"):
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


def rates(problem, meta, step=0):
    """An inner step's size for each parameter [P], or one for all."""
    config, policy = problem.algorithm.config, problem.policy
    learned = meta[policy.num_parameters :]
    if config.learned_rates == "none":
        rate = torch.full_like(meta[: policy.num_parameters], config.inner_lr)
    elif config.learned_rates == "parameter":
        rate = learned
    else:
        count = len(policy.tensor_sizes)
        of_step = learned[step * count :][:count] if config.learned_rates == "step" else learned
        rate = (config.inner_lr if config.learned_rates == "step" else 1) * torch.cat(
            [r.expand(size) for r, size in zip(of_step, policy.tensor_sizes, strict=True)]
        )
    moves = torch.zeros_like(rate)
    moves[policy.part(config.adapt)] = 1
    return rate * moves


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
            advantage = raw if config.inner_scale == "none" else standardize(raw, trajectory.mask)
            loss = inner_loss(config.estimator, distribution, before, trajectory, advantage)
            loss = loss - config.entropy_coef * average(distribution.entropy(), trajectory.mask)
            second_order = config.estimator != "first-order"
            gradient = torch.autograd.grad(loss.sum(), theta, create_graph=second_order, retain_graph=True)[0]
            theta = theta - rates(problem, meta, k) * gradient
    return found


def old_distributions(problem, tasks=slice(None)):
    meta = problem.algorithm.meta.clone().requires_grad_()
    return [d.detach() for d in distributions(problem, meta, tasks=tasks)]


def outer_advantage(problem):
    """Of the last stage, where that alone counts."""
    config, outer = problem.algorithm.config, problem.trajectories[-1]
    raw = advantages(outer, config.gamma, config.gae_lambda, problem.algorithm.value, config.baseline)
    return standardize(raw, outer.mask, over_tasks=config.outer_scale == "batch")


def outer_stages(problem, trajectories=None):
    """Advantages of every stage in the outer loss, None where it does not count, and the stages' weights."""
    config, trajectories = problem.algorithm.config, trajectories or problem.trajectories
    settings = config.outer_stages, config.estimator == "e-maml", config.gamma, config.gae_lambda
    baseline = "batch" if config.outer_baseline == "batch" else config.baseline
    found = outer_advantages(
        trajectories, *settings, problem.algorithm.value, baseline, over_tasks=config.outer_scale == "batch"
    )
    return found, stage_weights(config.outer_stages, len(trajectories))


def outer_loss(problem, meta, clip=None, inner_kl_coef=0.0, tasks=slice(None)):
    """The (clipped) surrogate loss with entropy and the penalty on the inner KL, the outer KL and the inner KL: sums.

    Differentiable in the meta-parameters [M].
    """
    advantage, weights = outer_stages(problem)
    old = old_distributions(problem, tasks)
    new = distributions(problem, meta, old, tasks)
    trajectories = [t[tasks] for t in problem.trajectories]
    loss = kl = 0.0
    for a, weight, before, now, t in zip(advantage, weights, old, new, trajectories, strict=True):
        if a is None:
            continue
        ratio = (now.log_prob(t.action) - before.log_prob(t.action)).exp()
        gain = ratio * a[tasks]
        if clip is not None:
            gain = torch.minimum(gain, ratio.clamp(1 - clip, 1 + clip) * a[tasks])
        entropy = weight * problem.algorithm.config.entropy_coef * average(now.entropy(), t.mask)
        loss = loss - (average(gain, t.mask) + entropy).sum()
        kl = kl + average(before.kl(now), t.mask).sum() / sum(x is not None for x in advantage)
    inner = sum(average(a.kl(b), t.mask).sum() for a, b, t in list(zip(old, new, trajectories, strict=True))[:-1])
    return loss + inner_kl_coef * inner, kl, inner


def outer_gradient(problem, meta, index=0, **settings):
    leaf = meta.detach().clone().requires_grad_()
    return torch.autograd.grad(outer_loss(problem, leaf, **settings)[index], leaf)[0]


def group_of(problem, tasks=slice(None), rates=None, meta=None, clip=None):
    a = problem.algorithm
    found, weights = outer_stages(problem)
    return TaskGroup(
        problem.policy,
        rates or a.rates,
        a.loss,
        a.meta if meta is None else meta,
        [t[tasks] for t in problem.trajectories],
        [None if x is None else x[tasks] for x in found],
        weights,
        clip,
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
