"""The outer objective of gradient-based meta-learning: J(θ), the mean over tasks of the loss after adaptation.

It is defined by the trajectories that the meta-parameters θ₀ collected: those of the inner steps determine how a policy
adapts, and the last one gives the loss of the adapted policy, by importance weights. Tasks are computed in groups that
fit the caches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from metarl.algorithms.adaptation import Adaptation, InnerProblem, Rates
from metarl.algorithms.inner import InnerLoss
from metarl.backend.distributed import all_sum, world_size
from metarl.learning import losses
from metarl.learning.linearize import Product, linearize
from metarl.learning.rollout import Trajectory, task_slices
from metarl.policies.distributions import Distribution
from metarl.policies.mlp import Policy


class TaskGroup:
    """J(θ) and its derivatives for a group of tasks, as sums over them.

    Args:
        loss: of the inner steps. Its entropy bonus counts in the outer loss, too.
        start: θ₀ [M], the meta-parameters that collected the trajectories.
        trajectories: one for each inner step, and the one after adaptation.
        advantage: [N, T, E] of the last trajectory.
        clip: likelihood ratios count up to 1 ± this in `gradient` (PPO); None leaves them as they are.

    Attributes:
        here: adaptation from θ₀.
        old: action distributions of θ₀'s adapted policies [N, T, E].
    """

    def __init__(
        self,
        policy: Policy,
        rates: Rates,
        loss: InnerLoss,
        start: Tensor,
        trajectories: list[Trajectory],
        advantage: Tensor,
        clip: float | None = None,
    ) -> None:
        self.policy, self.rates, self.loss, self.advantage, self.clip = policy, rates, loss, advantage, clip
        *inner, self.outer = trajectories
        self.problems = [InnerProblem(loss, trajectory) for trajectory in inner]
        self.here = self.at(start)
        self.old = self.here.outer.distribution.detach()
        self.old_log_prob = self.old.log_prob(self.outer.action)

    def at(self, theta: Tensor) -> Adaptation:
        """Adaptation from θ [M]."""
        return Adaptation(self.policy, self.rates, theta, self.problems, self.outer)

    def surrogate(self, distribution: Distribution) -> Tensor:
        """The outer loss [N] of adapted policies."""
        outer = self.outer
        loss = losses.surrogate(distribution, outer.action, self.advantage, outer.mask, self.old_log_prob)
        return self.loss.regularize(loss, distribution, outer.mask)

    def clipped_surrogate(self, distribution: Distribution) -> Tensor:
        """The same with clipped likelihood ratios."""
        outer, clip = self.outer, math.inf if self.clip is None else self.clip
        loss = losses.clipped_surrogate(distribution, outer.action, self.advantage, outer.mask, self.old_log_prob, clip)
        return self.loss.regularize(loss, distribution, outer.mask)

    def kl(self, distribution: Distribution) -> Tensor:
        """KL divergence [N] of adapted policies from those of θ₀."""
        return losses.kl_divergence(self.old, distribution, self.outer.mask)

    def entropy(self) -> Tensor:
        """Of the policies that collected the trajectories, a mean over these."""
        pairs = [*((p.old, p.trajectory) for p in self.problems), (self.old, self.outer)]
        return torch.stack([losses.masked_mean(d.entropy(), t.mask).sum() for d, t in pairs]).mean()

    def gradient(self, theta: Tensor | None = None, inner_kl_coef: Tensor | None = None) -> Tensor:
        """Of the outer loss in the meta-parameters [M], at θ or at θ₀."""
        adaptation = self.here if theta is None else self.at(theta)
        return adaptation.gradient(self.surrogate if self.clip is None else self.clipped_surrogate, inner_kl_coef)

    def evaluate(self, theta: Tensor) -> Tensor:
        """Outer loss and KL divergence [2] of the policies that θ [M] adapts to."""
        params, rate = self.rates.split(theta)
        adapted = params.expand(len(self.outer), -1)
        for problem in self.problems:
            linearized = linearize(self.policy, adapted, problem.trajectory.inputs)
            adapted = adapted - rate * linearized.gradient(problem.collected_by(linearized.distribution))
        distribution, _ = self.policy.bind(adapted)(self.outer.inputs, None)
        return torch.stack([self.surrogate(distribution).sum(), self.kl(distribution).sum()])


class MetaObjective:
    """J(θ) with its derivatives, as a mean over the tasks of all processes.

    Args:
        group: makes the `TaskGroup` of some of the tasks from their trajectories and advantage.
        trajectories: one for each inner step, and the one after adaptation.
        advantage: [N, T, E] of the last trajectory.
    """

    def __init__(
        self,
        group: Callable[[list[Trajectory], Tensor], TaskGroup],
        trajectories: list[Trajectory],
        advantage: Tensor,
    ) -> None:
        outer = trajectories[-1]
        self.num_tasks, self.num_envs = len(outer) * world_size(), outer.reward.shape[2]

        def groups(episodes: slice) -> list[TaskGroup]:
            parts = [(tasks, slice(None), episodes) for tasks in task_slices(outer)]
            return [group([t[part] for t in trajectories], advantage[part]) for part in parts]

        self._groups_of: Callable[[slice], list[TaskGroup]] = groups
        self.groups = groups(slice(None))

    def loss(self) -> Tensor:
        """J(θ₀)."""
        return self._mean(group.surrogate(group.old).sum() for group in self.groups)

    def gradient(self, theta: Tensor | None = None, inner_kl_coef: Tensor | None = None) -> Tensor:
        """∇J [M] at θ, by default at θ₀.

        Args:
            inner_kl_coef: weight of the inner policies' KL divergence from those that collected the data (ProMP).
        """
        return self._mean(group.gradient(theta, inner_kl_coef) for group in self.groups)

    def curvature(self, num_episodes: int = 0) -> Product:
        """v -> Hessian of the mean KL divergence between adapted policies at θ₀, times v [M].

        Args:
            num_episodes: of each task that count; 0 for all.
        """
        some = 0 < num_episodes < self.num_envs
        groups = self._groups_of(slice(num_episodes)) if some else self.groups
        products = [group.here.curvature(group.kl) for group in groups]
        return lambda vector: self._mean(product(vector) for product in products)

    def evaluate(self, theta: Tensor) -> Tensor:
        """J(θ), and the mean KL divergence of adapted policies from those of θ₀ [2]."""
        return self._mean(group.evaluate(theta) for group in self.groups)

    def entropy(self) -> Tensor:
        """Mean entropy, in nats, of the policies that collected the trajectories, at their steps."""
        return self._mean(group.entropy() for group in self.groups)

    def inner_kl(self, theta: Tensor) -> Tensor | None:
        """KL divergence of θ's inner policies from those of θ₀, summed over steps; None without inner steps."""
        if not self.groups[0].problems:
            return None
        return self._mean(group.at(theta).inner_kl() for group in self.groups)

    def _mean(self, sums: Iterable[Tensor]) -> Tensor:
        """Over the tasks of all processes, from a sum of each group."""
        return all_sum(torch.stack(list(sums)).sum(0)) / self.num_tasks
