"""Adaptation: pure functions `(params, memory, trajectory) -> (params, memory)`, and their derivatives.

One inner step is U(θ) = θ - α ∇L(θ) for every task at once. Its Jacobian, I - αH with H the Hessian of L, is
symmetric, so the same product pushes a direction forward through the step and pulls a gradient back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from metarl import losses
from metarl.advantage import advantages
from metarl.linearize import Objective
from metarl.policy import Policy
from metarl.rollout import Adapter, Trajectory


@dataclass(frozen=True)
class InnerLoss:
    """The inner loss: vanilla policy gradient with a linear baseline fitted to each task."""

    gamma: float
    gae_lambda: float

    def objective(self, trajectory: Trajectory) -> Objective:
        advantage = advantages(trajectory, self.gamma, self.gae_lambda)
        return lambda d: losses.policy_gradient(d, trajectory.action, advantage, trajectory.mask)


def sgd_adapt(policy: Policy, loss: InnerLoss, inner_lr: float) -> Adapter:
    """The adapter of MAML and Reptile: one gradient step on each task's own trajectory."""

    def adapt(params: Tensor, memory: Any, trajectory: Trajectory) -> tuple[Tensor, Any]:
        gradient = policy.linearize(params, trajectory.inputs).gradient(loss.objective(trajectory))
        return params - inner_lr * gradient, memory

    return adapt
