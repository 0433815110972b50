"""Advantages: baselines, fitted to each task or a network for all, and generalized advantage estimation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from metarl.backend.distributed import all_mean
from metarl.learning.rollout import Trajectory

ValueFunction = Callable[[Trajectory], Tensor]
"""`trajectory -> values [N, T, E]`, in units of reward."""


def discounted_sum(x: Tensor, discount: float) -> Tensor:
    """y[t] = x[t] + discount * y[t + 1] along axis 1 of [N, T, ...]."""
    columns, total = [], torch.zeros_like(x[:, 0])
    for column in reversed(x.unbind(1)):
        total = column + discount * total
        columns.append(total)
    return torch.stack(columns[::-1], 1)


def linear_features(obs: Tensor) -> Tensor:
    """obs, obs², τ, τ², τ³, 1 with τ = t / 100; obs clipped to ±10: [N, T, E, O] -> [N, T, E, F].

    Of images and categories, which are no floats, only those of the time.
    """
    n, horizon, num_envs, _ = obs.shape
    if not obs.is_floating_point():
        obs = obs[..., :0].float()
    clipped = obs.clamp(-10, 10)
    time = (torch.arange(horizon, device=obs.device, dtype=obs.dtype) / 100).view(1, -1, 1, 1)
    time = time.expand(n, horizon, num_envs, 1)
    return torch.cat([clipped, clipped.square(), time, time.square(), time**3, torch.ones_like(time)], -1)


def linear_weights(
    x: Tensor, target: Tensor, ridge: float = 1e-5, reduce: Callable[[Tensor], Tensor] = lambda moments: moments
) -> Tensor:
    """Least squares for each row: x [N, B, F] and target [N, B, 1] in float64 -> weights [N, F, 1].

    `ridge` is added to the diagonal of the normal equations, relative to each feature's own scale; `reduce` may add up
    their terms over processes.
    """
    gram, moment = reduce(x.mT @ x), reduce(x.mT @ target)
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    # `solve` would read back whether a matrix is singular, which none is
    return torch.linalg.solve_ex(gram + torch.diag_embed(ridge * diagonal + 1e-10), moment)[0]


def linear_baseline(obs: Tensor, target: Tensor, mask: Tensor, ridge: float = 1e-5) -> Tensor:
    """Least-squares value estimate of each task from features of observation and time (Duan et al. 2016, s. 4.1).

    Args:
        obs: [N, T, E, O].
        target: discounted returns [N, T, E].
        mask: [N, T, E]; steps with mask 0 do not count.
        ridge: of `linear_weights`.

    Returns:
        Values [N, T, E], 0 where mask is 0. The normal equations are solved in float64.
    """
    x = (linear_features(obs) * mask.unsqueeze(-1)).flatten(1, 2).double()  # [N, B, F]
    weights = linear_weights(x, target.flatten(1, 2).unsqueeze(-1).double(), ridge)
    return (x @ weights).view_as(target).to(target.dtype)


def constant_baseline(target: Tensor, mask: Tensor) -> Tensor:
    """The mean return of a task's other episodes, of its own where there is no other.

    Args:
        target: discounted returns [N, T, E].
        mask: [N, T, E]; steps with mask 0 do not count.

    Returns:
        Values [N, T, E], 0 where mask is 0.
    """
    total, count = _of_others((target * mask).sum(1, keepdim=True)), _of_others(mask.sum(1, keepdim=True))
    return total / count.clamp_min(1) * mask


STEPS_PER_FEATURE = 2
"""A fit to fewer steps than this for each of its features predicts other episodes worse than their mean does."""


def cross_fitted_baseline(obs: Tensor, target: Tensor, mask: Tensor, ridge: float = 1e-5) -> Tensor:
    """Values of each episode from a linear fit to the task's other episodes, so that no return enters its own value.

    Where the others have fewer than `STEPS_PER_FEATURE` steps a feature it is `constant_baseline`. Arguments and result
    are those of `linear_baseline`; memory grows with N E F².
    """
    constant, features = constant_baseline(target, mask), linear_features(obs)
    _, horizon, num_envs, size = features.shape
    enough = STEPS_PER_FEATURE * size
    if horizon * (num_envs - 1) < enough:
        return constant
    x = (features * mask.unsqueeze(-1)).transpose(1, 2).double()  # [N, E, T, F]
    y = target.transpose(1, 2).unsqueeze(-1).double()
    gram, moment = (_of_others(x.mT @ z, axis=1) for z in (x, y))
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    weights = torch.linalg.solve_ex(gram + torch.diag_embed(ridge * diagonal + 1e-10), moment)[0]
    linear = (x @ weights).squeeze(-1).transpose(1, 2).to(target.dtype)
    return torch.where(_of_others(mask.sum(1, keepdim=True)) < enough, constant, linear)


def _of_others(x: Tensor, axis: int = 2) -> Tensor:
    """The sum over all other episodes, along the axis of episodes; over the only one where there is no other."""
    return x.sum(axis, keepdim=True) - x if x.shape[axis] > 1 else x


def gae(reward: Tensor, value: Tensor, mask: Tensor, gamma: float, gae_lambda: float) -> Tensor:
    """Generalized advantage estimates (Schulman et al. 2016, eq. 16) of [N, T, ...], 0 where mask is 0.

    Padding after an episode's termination is skipped: in a trial, the next episode's first step follows the step before
    it. After the last step the value is 0, also at the horizon: the objective is the return of these steps, and the
    baseline knows the time.
    """
    columns, next_value, next_advantage = [], torch.zeros_like(value[:, 0]), torch.zeros_like(value[:, 0])
    for r, v, m in zip(*(x.flip(1).unbind(1) for x in (reward, value, mask > 0)), strict=True):
        advantage = r + gamma * next_value - v + gamma * gae_lambda * next_advantage
        columns.append(torch.where(m, advantage, 0.0))
        next_value, next_advantage = torch.where(m, v, next_value), torch.where(m, advantage, next_advantage)
    return torch.stack(columns[::-1], 1)


def fitted_values(trajectory: Trajectory, gamma: float, baseline: str) -> Tensor:
    """Values [N, T, E] of a baseline that is fitted to each task: `linear`, `cross-fitted` or `constant`."""
    target, mask = discounted_sum(trajectory.reward, gamma), trajectory.mask
    if baseline == "constant":
        return constant_baseline(target, mask)
    return (linear_baseline if baseline == "linear" else cross_fitted_baseline)(trajectory.obs, target, mask)


def advantages(
    trajectory: Trajectory,
    gamma: float,
    gae_lambda: float,
    value_function: ValueFunction | None = None,
    baseline: str = "linear",
) -> Tensor:
    """Generalized advantage estimates [N, T, E], in units of reward.

    The baseline is the value function if there is one, otherwise that of `fitted_values`.
    """
    value = value_function(trajectory) if value_function else fitted_values(trajectory, gamma, baseline)
    return gae(trajectory.reward, value, trajectory.mask, gamma, gae_lambda)


def centre(advantage: Tensor, mask: Tensor) -> Tensor:
    """Advantages [N, T, E] with mean 0 over each task's valid steps, 0 where mask is 0."""
    count = mask.sum((1, 2), keepdim=True)
    return (advantage - (advantage * mask).sum((1, 2), keepdim=True) / count) * mask


def standardize(advantage: Tensor, mask: Tensor, over_tasks: bool = False) -> Tensor:
    """Advantages with mean 0 and standard deviation 1 over each task's valid steps, 0 where mask is 0.

    `over_tasks` divides by one standard deviation of all tasks, including those of other processes, instead of by each
    task's own. A task whose returns still vary widely then keeps more weight than one that is nearly solved.
    """
    centred = centre(advantage, mask)
    return centred / scale_of([centred], [mask], over_tasks)


def scale_of(centred: Sequence[Tensor], masks: Sequence[Tensor], over_tasks: bool) -> Tensor:
    """One standard deviation [N or 1, 1, 1] of advantages with mean 0 in several stages, for each task or for all."""
    pairs = zip(centred, masks, strict=True)
    variances = [a.square().sum((1, 2), keepdim=True) / mask.sum((1, 2), keepdim=True) for a, mask in pairs]
    variance = torch.stack(variances).mean(0)
    if over_tasks:
        variance = all_mean(variance.mean(0, keepdim=True))
    return variance.sqrt() + 1e-8
