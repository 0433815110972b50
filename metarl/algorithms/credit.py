"""What the stages of adaptation count in the outer objective: their own returns, and those of later stages.

MAML maximizes the return after the last step. The return of every stage after a step is the multi-step loss of MAML++
(Antoniou et al. 2019); that of all stages, with the one before any step, is the return of the whole trial. The actions
of a stage also decide what the next step learns from: E-MAML (Stadie et al. 2018) credits them for what later stages
bring, by the likelihood of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from metarl.backend.distributed import all_sum
from metarl.learning.advantage import (
    ValueFunction,
    advantages,
    centre,
    discounted_sum,
    gae,
    linear_features,
    linear_weights,
    scale_of,
)
from metarl.learning.rollout import Trajectory

OuterStages = Literal["last", "adapted", "all"]


def stage_weights(stages: OuterStages, num_stages: int) -> list[float]:
    """Of the return in each stage, which add up to 1; of one stage alone it is 1."""
    first = {"last": num_stages - 1, "adapted": min(1, num_stages - 1), "all": 0}[stages]
    return [0.0 if k < first else 1 / (num_stages - first) for k in range(num_stages)]


def own_advantages(
    trajectories: Sequence[Trajectory],
    stage: int,
    gamma: float,
    gae_lambda: float,
    value: ValueFunction | None,
    baseline: str,
) -> Tensor:
    """Advantages [N, T, E] of a stage's actions for its own return, in units of reward.

    Args:
        baseline: one of `InnerConfig`, fitted to each task, whose advantages have mean 0; or "batch": see `fitted`.
    """
    t = trajectories[stage]
    if baseline != "batch":
        return centre(advantages(t, gamma, gae_lambda, value, baseline), t.mask)
    features = torch.cat([linear_features(t.obs), history(trajectories, stage)], -1)
    return gae(t.reward, fitted(features, discounted_sum(t.reward, gamma), t.mask), t.mask, gamma, gae_lambda)


def later_credit(trajectories: Sequence[Trajectory], weights: Sequence[float]) -> list[Tensor]:
    """What the actions of each stage but the last are credited with for later stages [N, T, E], in units of reward.

    A loss is a mean over a stage's steps, so that the likelihood of its whole data, a sum, counts as often as it has
    steps. The baseline is a fit to all tasks by what was known before the action; see `fitted`.
    """
    found = []
    for k, t in enumerate(trajectories[:-1]):
        pairs = list(zip(trajectories, weights, strict=True))[k + 1 :]
        later = torch.stack([weight * mean_reward(other) for other, weight in pairs]).sum(0)
        target = later.view(-1, 1, 1).expand_as(t.reward)
        features = torch.cat([torch.ones_like(t.reward).unsqueeze(-1), history(trajectories, k)], -1)
        found.append((target - fitted(features, target, t.mask)) * t.mask * t.mask.sum((1, 2), keepdim=True))
    return found


def mean_reward(trajectory: Trajectory) -> Tensor:
    """Of each task's steps [N]."""
    return trajectory.reward.sum((1, 2)) / trajectory.mask.sum((1, 2))


def history(trajectories: Sequence[Trajectory], stage: int) -> Tensor:
    """What a stage's steps follow on [N, T, E, 2]: the mean reward of earlier stages, and the episode's so far."""
    reward = trajectories[stage].reward
    earlier = torch.stack([mean_reward(t) for t in trajectories[:stage]] or [torch.zeros_like(reward[:, 0, 0])]).mean(0)
    return torch.stack([earlier.view(-1, 1, 1).expand_as(reward), reward.cumsum(1) - reward], -1)


def fitted(features: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Least squares over the steps of all tasks, those of other processes included: [N, T, E, F] -> values [N, T, E].

    It may know everything before an action, so that it leaves the expected gradient as it is; one task is but a small
    part of what it is fitted to.
    """
    x = (features * mask.unsqueeze(-1)).flatten(0, 2).double()
    weights = linear_weights(x[None], (target * mask).flatten()[None, :, None].double(), reduce=all_sum)
    return (x @ weights[0]).view_as(target).to(target.dtype)


def outer_advantages(
    trajectories: Sequence[Trajectory],
    stages: OuterStages,
    explore: bool,
    gamma: float,
    gae_lambda: float,
    value: ValueFunction | None,
    baseline: str,
    over_tasks: bool,
) -> list[Tensor | None]:
    """What the actions of each stage count for in the outer objective [N, T, E]; None where they do not.

    Args:
        stages: whose returns are maximized.
        explore: credit actions for the returns of later stages, too.
        over_tasks: one standard deviation for all tasks instead of each task's own.
    """
    weights = stage_weights(stages, len(trajectories))
    own = {
        k: own_advantages(trajectories, k, gamma, gae_lambda, value, baseline) for k, w in enumerate(weights) if w > 0
    }
    scale = scale_of(list(own.values()), [trajectories[k].mask for k in own], over_tasks)
    found = [w * own[k] / scale if k in own else None for k, w in enumerate(weights)]
    if explore:
        for k, credit in enumerate(later_credit(trajectories, weights)):
            now = found[k]
            found[k] = credit / scale if now is None else now + credit / scale
    return found
