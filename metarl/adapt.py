"""Adaptation: pure functions `(params, memory, trajectory) -> (params, memory)`, and their derivatives.

One inner step is U(θ) = θ - α ∇L(θ) for every task at once. Its Jacobian, I - αH with H the Hessian of L, is
symmetric, so the same product pushes a direction forward through the step and pulls a gradient back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metarl import losses
from metarl.advantage import advantages
from metarl.distributions import Distribution
from metarl.policy import Policy
from metarl.rollout import Trajectory

Objective = Callable[[Distribution], Tensor]
"""A loss as a function of the action distribution at fixed states: `distribution [N, T, E] -> [N]`."""

Product = Callable[[Tensor], Tensor]
"""A linear map of each task's parameters: `[N, P] -> [N, P]`."""


def gradient(policy: Policy, params: Tensor, trajectory: Trajectory, objective: Objective) -> Tensor:
    """Gradient of each task's objective at its parameters, [N, P]. Tasks are independent, so one backward pass does."""
    with torch.enable_grad():
        leaf = params.detach().requires_grad_()
        distribution, _ = policy.bind(leaf)(trajectory.inputs, None)
        return torch.autograd.grad(objective(distribution).sum(), leaf)[0]


def hessian(policy: Policy, params: Tensor, trajectory: Trajectory, objective: Objective) -> tuple[Tensor, Product]:
    """Gradient [N, P] of each task's objective, and the product of its Hessian with a vector."""
    with torch.enable_grad():
        leaf = params.detach().requires_grad_()
        distribution, _ = policy.bind(leaf)(trajectory.inputs, None)
        grad = torch.autograd.grad(objective(distribution).sum(), leaf, create_graph=True)[0]

    def product(vector: Tensor) -> Tensor:
        return torch.autograd.grad(grad, leaf, vector, retain_graph=True)[0]

    return grad.detach(), product


@dataclass(frozen=True)
class InnerLoss:
    """The inner loss: vanilla policy gradient with a linear baseline fitted to each task."""

    gamma: float
    gae_lambda: float

    def objective(self, trajectory: Trajectory) -> Objective:
        advantage = advantages(trajectory, self.gamma, self.gae_lambda)
        return lambda d: losses.policy_gradient(d, trajectory.action, advantage, trajectory.mask)


def sgd_adapt(policy: Policy, loss: InnerLoss, inner_lr: float) -> Callable[[Tensor, Any, Trajectory], tuple]:
    """The adapter of MAML and Reptile: one gradient step on each task's own trajectory."""

    def adapt(params: Tensor, memory: Any, trajectory: Trajectory) -> tuple[Tensor, Any]:
        return params - inner_lr * gradient(policy, params, trajectory, loss.objective(trajectory)), memory

    return adapt
