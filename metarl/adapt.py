"""Adaptation: pure functions `(params, memory, trajectory) -> (params, memory)`, and their derivatives.

One inner step is U(θ) = θ - α ∇L(θ) for every task at once. Its Jacobian, I - αH with H the Hessian of L, is
symmetric, so the same product pushes a direction forward through the step and pulls a gradient back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metarl import losses
from metarl.advantage import advantages, standardize
from metarl.linearize import Objective, linearize
from metarl.policy import Policy
from metarl.rollout import Adapter, Trajectory, task_slices


@dataclass(frozen=True)
class InnerLoss:
    """The inner loss: vanilla policy gradient with a linear baseline fitted to each task."""

    gamma: float
    gae_lambda: float

    def objective(self, trajectory: Trajectory) -> Objective:
        advantage = standardize(advantages(trajectory, self.gamma, self.gae_lambda), trajectory.mask)
        return lambda d: losses.policy_gradient(d, trajectory.action, advantage, trajectory.mask)


def sgd_step(policy: Policy, params: Tensor, trajectory: Trajectory, objective: Objective, inner_lr: float) -> Tensor:
    """U(params) [N, P]: one gradient step of each task on its own trajectory."""
    return params - inner_lr * linearize(policy, params, trajectory.inputs).gradient(objective)


def sgd_adapt(policy: Policy, loss: InnerLoss, inner_lr: float) -> Adapter:
    """The adapter of MAML and Reptile: `sgd_step` on the inner loss."""

    def adapt(params: Tensor, memory: Any, trajectory: Trajectory) -> tuple[Tensor, Any]:
        groups = [(params[tasks], trajectory[tasks]) for tasks in task_slices(trajectory)]
        return torch.cat([sgd_step(policy, p, t, loss.objective(t), inner_lr) for p, t in groups]), memory

    return adapt
