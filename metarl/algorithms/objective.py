"""The outer objective of gradient-based meta-learning: J(θ), the mean over tasks of the loss after adaptation.

It is defined by the trajectories that the meta-parameters θ₀ collected: those of the inner steps determine how a policy
adapts, and the last one gives the loss of the adapted policy, by importance weights. Earlier stages may count, too
(`credit.py`). Tasks are computed in groups, by several threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from metarl.algorithms.adaptation import Adaptation, InnerProblem, Rates
from metarl.algorithms.inner import InnerLoss
from metarl.backend.distributed import all_sum, world_size
from metarl.backend.groups import each_group
from metarl.learning import losses
from metarl.learning.linearize import Product, linearize
from metarl.learning.rollout import Trajectory, task_slices
from metarl.policies.distributions import Distribution
from metarl.policies.mlp import Policy


@dataclass(frozen=True, eq=False)
class StageLoss:
    """What a stage counts in the outer loss."""

    loss: InnerLoss  # whose entropy bonus counts here, too
    trajectory: Trajectory
    advantage: Tensor  # [N, T, E], times the stage's weight
    weight: float  # of the entropy bonus
    share: float  # of the stage in the KL divergence
    old: Distribution  # of θ₀'s policies [N, T, E]
    old_log_prob: Tensor  # [N, T, E]
    clip: float | None

    def surrogate(self, distribution: Distribution) -> Tensor:
        """The outer loss [N]."""
        t = self.trajectory
        loss = losses.surrogate(distribution, t.action, self.advantage, t.mask, self.old_log_prob)
        return self.loss.regularize(loss, distribution, t.mask, self.weight)

    def clipped_surrogate(self, distribution: Distribution) -> Tensor:
        """The same with likelihood ratios that count up to 1 ± `clip` (PPO)."""
        if self.clip is None:
            return self.surrogate(distribution)
        t = self.trajectory
        loss = losses.clipped_surrogate(distribution, t.action, self.advantage, t.mask, self.old_log_prob, self.clip)
        return self.loss.regularize(loss, distribution, t.mask, self.weight)

    def kl(self, distribution: Distribution) -> Tensor:
        """The stage's share of the KL divergence [N] from θ₀'s policies."""
        return self.share * losses.kl_divergence(self.old, distribution, self.trajectory.mask)


class TaskGroup:
    """J(θ) and its derivatives for a group of tasks, as sums over them.

    Args:
        loss: of the inner steps. Its entropy bonus counts in the outer loss, too.
        start: θ₀ [M], the meta-parameters that collected the trajectories.
        trajectories: one for each inner step, and the one after adaptation.
        advantages: [N, T, E] of each trajectory in the outer loss; None where it does not count, never for the last.
        weights: of the stages' entropy bonus, by default that of the last alone.
        clip: likelihood ratios count up to 1 ± this in `gradient` (PPO); None leaves them as they are.

    Attributes:
        here: adaptation from θ₀.
        old: action distributions of θ₀'s policies [N, T, E], for each trajectory.
        stages: the outer loss of each trajectory, None where it does not count.
    """

    def __init__(
        self,
        policy: Policy,
        rates: Rates,
        loss: InnerLoss,
        start: Tensor,
        trajectories: list[Trajectory],
        advantages: Sequence[Tensor | None],
        weights: Sequence[float] | None = None,
        clip: float | None = None,
    ) -> None:
        self.policy, self.rates, self.trajectories = policy, rates, trajectories
        self.problems = [InnerProblem(loss, trajectory) for trajectory in trajectories[:-1]]
        self.here = self.at(start, many_products=clip is None)
        self.old = [*(problem.old for problem in self.problems), self.here.outer.distribution.detach()]
        weights = weights or [0.0] * len(self.problems) + [1.0]
        share = 1 / sum(advantage is not None for advantage in advantages)
        self.stages = [
            None if a is None else StageLoss(loss, t, a, weight, share, old, old.log_prob(t.action), clip)
            for t, a, weight, old in zip(trajectories, advantages, weights, self.old, strict=True)
        ]

    def at(self, theta: Tensor, many_products: bool = False) -> Adaptation:
        """Adaptation from θ [M]."""
        return Adaptation(self.policy, self.rates, theta, self.problems, self.trajectories[-1], many_products)

    def entropy(self) -> Tensor:
        """Of the policies that collected the trajectories, a mean over these."""
        pairs = zip(self.old, self.trajectories, strict=True)
        return torch.stack([losses.masked_mean(d.entropy(), t.mask).sum() for d, t in pairs]).mean()

    def gradient(self, theta: Tensor | None = None, inner_kl_coef: Tensor | None = None) -> Tensor:
        """Of the outer loss in the meta-parameters [M], at θ or at θ₀."""
        adaptation = self.here if theta is None else self.at(theta)
        return adaptation.gradient([stage.clipped_surrogate if stage else None for stage in self.stages], inner_kl_coef)

    def curvature(self) -> Product:
        """The product of the Hessian of the KL divergence at θ₀ with a vector [M]."""
        return self.here.curvature([stage.kl if stage else None for stage in self.stages])

    def evaluate(self, theta: Tensor) -> Tensor:
        """Outer loss and KL divergence [2] of the policies that θ [M] adapts to."""
        params, _ = self.rates.split(theta)
        adapted, found = params.expand(len(self.trajectories[-1]), -1), []
        for k, problem in enumerate(self.problems):
            linearized = linearize(self.policy, adapted, problem.trajectory.inputs)
            found.append(linearized.distribution.detach())
            gradient = linearized.gradient(problem.collected_by(linearized.distribution))
            adapted = adapted - self.rates.split(theta, k)[1] * gradient
        found.append(self.policy.bind(adapted)(self.trajectories[-1].inputs, None)[0])
        return self.outer(found)

    def outer(self, distributions: Sequence[Distribution]) -> Tensor:
        """Outer loss and KL divergence [2] of the action distributions in each stage."""
        counted = [(stage, d) for stage, d in zip(self.stages, distributions, strict=True) if stage is not None]
        return torch.stack([torch.stack([s.surrogate(d).sum(), s.kl(d).sum()]) for s, d in counted]).sum(0)


class MetaObjective:
    """J(θ) with its derivatives, as a mean over the tasks of all processes.

    Args:
        group: makes the `TaskGroup` of some of the tasks from their trajectories and advantages.
        trajectories: one for each inner step, and the one after adaptation.
        advantages: [N, T, E] of each trajectory in the outer loss; None where it does not count.
    """

    def __init__(
        self,
        group: Callable[[list[Trajectory], list[Tensor | None]], TaskGroup],
        trajectories: list[Trajectory],
        advantages: Sequence[Tensor | None],
    ) -> None:
        outer = trajectories[-1]
        self.num_tasks, self.num_envs = len(outer) * world_size(), outer.reward.shape[2]
        self._each = partial(each_group, device=outer.reward.device)

        def groups(episodes: slice) -> list[TaskGroup]:
            def some(tasks: slice) -> TaskGroup:
                part = tasks, slice(None), episodes
                return group([t[part] for t in trajectories], [None if a is None else a[part] for a in advantages])

            return self._each(some, task_slices(outer))

        self._groups_of: Callable[[slice], list[TaskGroup]] = groups
        self.groups = groups(slice(None))

    def loss(self) -> Tensor:
        """J(θ₀)."""
        return self._mean(lambda group: group.outer(group.old)[0])

    def gradient(self, theta: Tensor | None = None, inner_kl_coef: Tensor | None = None) -> Tensor:
        """∇J [M] at θ, by default at θ₀.

        Args:
            inner_kl_coef: weight of the inner policies' KL divergence from those that collected the data (ProMP).
        """
        return self._mean(lambda group: group.gradient(theta, inner_kl_coef))

    def curvature(self, num_episodes: int = 0) -> Product:
        """v -> Hessian of the mean KL divergence between policies in the stages that count at θ₀, times v [M].

        Args:
            num_episodes: of each task that count; 0 for all.
        """
        some = 0 < num_episodes < self.num_envs
        groups = self._groups_of(slice(num_episodes)) if some else self.groups
        products = self._each(TaskGroup.curvature, groups)
        return lambda vector: self._mean(lambda product: product(vector), products)

    def evaluate(self, theta: Tensor) -> Tensor:
        """J(θ), and the mean KL divergence of adapted policies from those of θ₀ [2]."""
        return self._mean(lambda group: group.evaluate(theta))

    def entropy(self) -> Tensor:
        """Mean entropy, in nats, of the policies that collected the trajectories, at their steps."""
        return self._mean(TaskGroup.entropy)

    def inner_kl(self, theta: Tensor) -> Tensor | None:
        """KL divergence of θ's inner policies from those of θ₀, summed over steps; None without inner steps."""
        if not self.groups[0].problems:
            return None
        return self._mean(lambda group: group.at(theta).inner_kl())

    def _mean(self, sum_of: Callable[[Any], Tensor], groups: Sequence[Any] | None = None) -> Tensor:
        """Over the tasks of all processes, from a sum of each group."""
        sums = self._each(sum_of, self.groups if groups is None else groups)
        return all_sum(torch.stack(sums).sum(0)) / self.num_tasks
