"""MAML-TRPO (Finn, Abbeel & Levine 2017, algorithm 3; outer optimizer Schulman et al. 2015)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from envs.errors import require
from metarl import losses
from metarl.adapt import InnerLoss, sgd_adapt, sgd_step
from metarl.advantage import advantages, standardize
from metarl.distributions import Distribution
from metarl.linearize import Product, linearize
from metarl.policy import Policy
from metarl.rollout import Adapter, Trajectory, task_slices
from metarl.trpo import conjugate_gradient, line_search


@dataclass(frozen=True)
class MAMLConfig:
    """MAML policy gradient with a TRPO outer step."""

    inner_lr: float = 0.1
    """Step size of the inner gradient steps."""
    num_inner_steps: int = 1
    """Inner gradient steps in training."""
    halve_test_lr: bool = True
    """At test, halve the inner step size after the first step, as Finn et al. do for more than one step."""
    first_order: bool = False
    """Take the Jacobian of the inner steps as the identity (FOMAML)."""
    gamma: float = 0.99
    """Discount."""
    gae_lambda: float = 1.0
    """Bias-variance trade-off of the advantages; 1 gives Monte Carlo returns minus the baseline."""
    outer_scale: Literal["batch", "task"] = "batch"
    """Divide outer advantages by one standard deviation for the whole meta-batch, so that the outer objective is the
    mean return of the tasks; or by each task's own, as peers do, which favours tasks that are nearly solved."""
    max_kl: float = 0.01
    """Trust region of the outer step: mean KL divergence between the old and new adapted policies, in nats."""
    cg_iterations: int = 10
    """Conjugate gradient iterations."""
    cg_damping: float = 1e-5
    """Added to the diagonal of the curvature."""
    curvature_episodes: int = 0
    """Episodes of each task whose curvature conjugate gradient uses; 0 takes all. Schulman et al. subsample there; the
    line search checks the step on all episodes in any case."""
    line_search_steps: int = 15
    """Steps that the line search tries before it keeps the old parameters."""
    line_search_shrink: float = 0.8
    """Factor between two of them."""

    def __post_init__(self) -> None:
        for name in ("inner_lr", "max_kl", "cg_damping"):
            value = getattr(self, name)
            require(math.isfinite(value) and value >= 0, f"{name} must be a number of at least 0, not {value}.")
        require(self.curvature_episodes >= 0, f"curvature_episodes must be at least 0, not {self.curvature_episodes}.")
        for name in ("num_inner_steps", "cg_iterations", "line_search_steps"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, not {getattr(self, name)}.")
        require(
            self.outer_scale in ("batch", "task"), f"outer_scale must be 'batch' or 'task', not {self.outer_scale!r}."
        )
        for name in ("gamma", "gae_lambda", "line_search_shrink"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} must lie in [0, 1], not {value}.")


class TaskGroup:
    """The outer objective of some tasks, linearized at the parameters that the trajectories were collected with.

    Everything it returns is a sum over its tasks, so that groups can be added up.
    """

    def __init__(
        self, policy: Policy, config: MAMLConfig, params: Tensor, trajectories: list[Trajectory], advantage: Tensor
    ) -> None:
        self.policy, self.config, self.advantage = policy, config, advantage
        *self.inner, self.outer = trajectories
        loss = InnerLoss(config.gamma, config.gae_lambda)
        self.inner_objectives = [loss.objective(trajectory) for trajectory in self.inner]
        self.inner_hessians: list[Product] = []
        adapted = params.expand(len(self.outer), -1)
        for trajectory, objective in zip(self.inner, self.inner_objectives, strict=True):
            gradient, product = linearize(policy, adapted, trajectory.inputs).hessian(objective)
            self.inner_hessians.append(product)
            adapted = adapted - config.inner_lr * gradient
        self.linearized = linearize(policy, adapted, self.outer.inputs)
        self.old = self.linearized.distribution.detach()
        self.old_log_prob = self.old.log_prob(self.outer.action)
        # At the old parameters the KL divergence has no gradient, so the chain rule leaves JᵀFJ of its Hessian with
        # respect to the meta-parameters: F is the Hessian in the adapted ones, J the Jacobian of adaptation.
        _, self.fisher = self.linearized.hessian(self.kl, stationary=True)

    def surrogate(self, distribution: Distribution) -> Tensor:
        return losses.surrogate(distribution, self.outer.action, self.advantage, self.outer.mask, self.old_log_prob)

    def kl(self, distribution: Distribution) -> Tensor:
        return losses.kl_divergence(self.old, distribution, self.outer.mask)

    def through_adaptation(self, vector: Tensor, products: list[Product]) -> Tensor:
        """Multiply [N, P] by the Jacobians I - αH of the inner steps, one after another."""
        if not self.config.first_order:
            for hessian in products:
                vector = vector - self.config.inner_lr * hessian(vector)
        return vector

    def gradient(self) -> Tensor:
        """Meta-gradient of the surrogate [P]."""
        outer = self.linearized.gradient(self.surrogate)
        return self.through_adaptation(outer, self.inner_hessians[::-1]).sum(0)

    def curvature(self, vector: Tensor) -> Tensor:
        """Product of the Hessian of the KL divergence in the meta-parameters with a vector, [P] -> [P]."""
        tangent = self.through_adaptation(vector.expand(len(self.outer), -1), self.inner_hessians)
        return self.through_adaptation(self.fisher(tangent), self.inner_hessians[::-1]).sum(0)

    def evaluate(self, params: Tensor) -> Tensor:
        """Surrogate and KL divergence [2] of the policies that other meta-parameters [P] adapt to."""
        adapted = params.expand(len(self.outer), -1)
        for trajectory, objective in zip(self.inner, self.inner_objectives, strict=True):
            adapted = sgd_step(self.policy, adapted, trajectory, objective, self.config.inner_lr)
        distribution, _ = self.policy.bind(adapted)(self.outer.inputs, None)
        return torch.stack([self.surrogate(distribution).sum(), self.kl(distribution).sum()])


class MAML:
    """Holds the meta-parameters `params` [P]; `adapters` move them to a task, `update` improves them."""

    def __init__(self, config: MAMLConfig, policy: Policy, params: Tensor) -> None:
        self.config, self.policy, self.params = config, policy, params

    def adapters(self, num_steps: int | None = None, test: bool = False) -> list[Adapter]:
        """One adapter for each inner step; by default as many as in training. `test` applies `halve_test_lr`."""
        c = self.config
        num_steps = c.num_inner_steps if num_steps is None else num_steps
        rates = [c.inner_lr * (0.5 if test and c.halve_test_lr and k > 0 else 1.0) for k in range(num_steps)]
        return [sgd_adapt(self.policy, InnerLoss(c.gamma, c.gae_lambda), rate) for rate in rates]

    def update(self, trajectories: list[Trajectory]) -> dict[str, float]:
        """One outer step from what `collect` returned with `adapters()`. Returns metrics."""
        c = self.config
        n, outer = len(trajectories[0]), trajectories[-1]
        advantage = standardize(advantages(outer, c.gamma, c.gae_lambda), outer.mask, c.outer_scale == "batch")

        def linearize_groups(episodes: slice) -> list[TaskGroup]:
            chosen = [trajectory[:, :, episodes] for trajectory in trajectories]
            return [
                TaskGroup(self.policy, c, self.params, [t[tasks] for t in chosen], advantage[tasks][:, :, episodes])
                for tasks in task_slices(outer)
            ]

        groups = linearize_groups(slice(None))
        curvature_groups = (
            linearize_groups(slice(c.curvature_episodes))
            if 0 < c.curvature_episodes < outer.reward.shape[2]
            else groups
        )

        def curvature(vector: Tensor) -> Tensor:
            return sum_over(group.curvature(vector) for group in curvature_groups) / n + c.cg_damping * vector

        def evaluate(params: Tensor) -> Tensor:
            return sum_over(group.evaluate(params) for group in groups) / n

        gradient = sum_over(group.gradient() for group in groups) / n
        direction, residual = conjugate_gradient(curvature, gradient, c.cg_iterations)
        scale = torch.sqrt(2 * c.max_kl / (direction @ (gradient - residual)).clamp_min(1e-30))
        old_loss = sum_over(group.surrogate(group.old).sum() for group in groups) / n
        self.params, metrics = line_search(
            evaluate, self.params, scale * direction, old_loss, c.max_kl, c.line_search_steps, c.line_search_shrink
        )
        return {"grad_norm": float(gradient.norm()), **metrics}

    def state_dict(self) -> dict[str, Any]:
        return {"params": self.params}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises `ValueError` when the parameters are of another policy."""
        params = state["params"]
        if params.shape != self.params.shape:
            raise ValueError(f"it holds {params.numel()} parameters, the policy has {self.params.numel()}")
        self.params = params


def sum_over(terms: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum(0)
