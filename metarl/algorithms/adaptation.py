"""Adaptation as a differentiable function of the meta-parameters.

Inner step k moves the parameters of each task from θ[k] to θ[k+1] = θ[k] - α g[k], with g the gradient of the inner
loss and H its Hessian. Where the rates α are learned beside θ[0] (Meta-SGD, Li et al. 2017), a change (dθ, dα) of the
meta-parameters moves the adapted policy by products of I - αH, applied to dθ, and by -g dα from each step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metarl.algorithms.inner import InnerLoss
from metarl.learning import losses
from metarl.learning.linearize import Linearization, Objective, Product, linearize
from metarl.learning.rollout import Trajectory
from metarl.policies.distributions import Distribution
from metarl.policies.mlp import Policy


class Rates:
    """How a vector of meta-parameters [M] holds the policy's parameters [P] and, where they are learned, inner rates.

    Args:
        kind: "fixed", "tensor" (one learned rate for each tensor of the policy) or "parameter" (one for each number).
        inner_lr: the fixed rate, or the first value of the learned ones.
    """

    def __init__(self, kind: str, inner_lr: float, policy: Policy) -> None:
        self.kind, self.inner_lr, self.num_parameters = kind, inner_lr, policy.num_parameters
        if kind == "parameter":
            self.sizes = torch.ones(policy.num_parameters, dtype=torch.int64)
        else:
            self.sizes = torch.tensor({"fixed": [], "tensor": policy.tensor_sizes}[kind], dtype=torch.int64)
        self.index = torch.arange(len(self.sizes)).repeat_interleave(self.sizes)  # of the rate of each parameter

    def init(self, params: Tensor) -> Tensor:
        """Meta-parameters [M] from the policy's [P]."""
        return torch.cat([params, params.new_full((len(self.sizes),), self.inner_lr)])

    def split(self, meta: Tensor) -> tuple[Tensor, Tensor | float]:
        """Parameters [..., P] and rates [..., P], or a number when they are fixed."""
        params, learned = meta[..., : self.num_parameters], meta[..., self.num_parameters :]
        if self.kind == "fixed":
            return params, self.inner_lr
        self.index = self.index.to(meta.device)
        return params, learned[..., self.index] if self.kind == "tensor" else learned

    def tangent(self, vector: Tensor) -> tuple[Tensor, Tensor | None]:
        """A change of the meta-parameters [..., M] as one of parameters [..., P] and one of rates [..., P] or None."""
        params, rates = self.split(vector)
        return params, rates if isinstance(rates, Tensor) else None

    def join(self, params: Tensor, rates: Tensor) -> Tensor:
        """The transpose of `tangent`: gradients by parameter and by rate [..., P] as one [..., M]."""
        if self.kind == "fixed":
            return params
        if self.kind == "tensor":
            rates = rates.new_zeros(*rates.shape[:-1], len(self.sizes)).index_add_(
                -1, self.index.to(rates.device), rates
            )
        return torch.cat([params, rates], -1)


class InnerProblem:
    """An inner step's loss on a trajectory, and the policy that collected it.

    Attributes:
        objective: the inner loss [N] of action distributions, available after `collected_by`.
    """

    old: Distribution
    objective: Objective | None = None

    def __init__(self, loss: InnerLoss, trajectory: Trajectory) -> None:
        self.loss, self.trajectory = loss, trajectory

    def collected_by(self, distribution: Distribution) -> Objective:
        """The objective; the first call gives the collecting policy's action distributions [N, T, E]."""
        if self.objective is None:
            self.old = distribution.detach()
            self.objective = self.loss.objective(self.trajectory, self.old.log_prob(self.trajectory.action))
        return self.objective

    def kl(self, distribution: Distribution) -> Tensor:
        """KL divergence [N] from the policy that collected the trajectory."""
        return losses.kl_divergence(self.old, distribution, self.trajectory.mask)


@dataclass(frozen=True, eq=False)
class InnerStep:
    """An inner step at given meta-parameters."""

    problem: InnerProblem
    linearized: Linearization
    gradient: Tensor  # [N, P] of the inner loss
    hessian: Product


class Adaptation:
    """Inner steps from meta-parameters [M] to adapted policies, and derivatives through them.

    Args:
        problems: of the inner steps, in their order. The first adaptation on them must start from the meta-parameters
            that collected their trajectories.
        outer: the trajectory after adaptation, on whose states adapted policies are linearized.
    """

    def __init__(
        self, policy: Policy, rates: Rates, meta: Tensor, problems: list[InnerProblem], outer: Trajectory
    ) -> None:
        self.rates, self.num_tasks = rates, len(outer)
        params, self.rate = rates.split(meta)
        self.second_order = all(problem.loss.estimator != "first-order" for problem in problems)
        adapted = params.expand(self.num_tasks, -1)
        self.steps: list[InnerStep] = []
        for problem in problems:
            linearized = linearize(policy, adapted, problem.trajectory.inputs)
            objective = problem.collected_by(linearized.distribution)
            if self.second_order:
                gradient, hessian = linearized.hessian(objective)
            else:
                gradient, hessian = linearized.gradient(objective), torch.zeros_like
            self.steps.append(InnerStep(problem, linearized, gradient, hessian))
            adapted = adapted - self.rate * gradient
        self.outer = linearize(policy, adapted, outer.inputs)

    def jvp(self, vector: Tensor) -> Tensor:
        """How adapted parameters [N, P] move with the meta-parameters: the Jacobian times `vector` [M]."""
        params, rate = self.rates.tangent(vector)
        moved = params.expand(self.num_tasks, -1)
        for step in self.steps:
            if self.second_order:
                moved = moved - self.rate * step.hessian(moved)
            if rate is not None:
                moved = moved - rate * step.gradient
        return moved

    def vjp(self, vector: Tensor, inner_kl_coef: Tensor | None = None) -> Tensor:
        """The transpose: a gradient [N, P] at the adapted parameters as one [M] of the meta-parameters.

        Args:
            inner_kl_coef: adds the gradient of that times the KL divergences of the inner policies from those that
                collected the data (Rothfuss et al. 2018, eq. 12).
        """
        by_rate = torch.zeros_like(vector)
        for step in reversed(self.steps):
            by_rate = by_rate - step.gradient * vector
            if self.second_order:
                each = isinstance(self.rate, Tensor)  # a single rate commutes with the Hessian
                product = step.hessian(self.rate * vector) if each else self.rate * step.hessian(vector)
                vector = vector - product
            if inner_kl_coef is not None:
                vector = vector + inner_kl_coef * step.linearized.gradient(step.problem.kl)
        return self.rates.join(vector, by_rate).sum(0)

    def gradient(self, loss: Objective, inner_kl_coef: Tensor | None = None) -> Tensor:
        """Gradient [M] of a loss of the adapted policies' action distributions, summed over tasks."""
        return self.vjp(self.outer.gradient(loss), inner_kl_coef)

    def curvature(self, kl: Objective) -> Product:
        """The product of the Hessian of the outer KL divergence with a vector [M], where both policies agree.

        There the divergence has no gradient, so the chain rule leaves JᵀFJ: F is the Hessian in the adapted
        parameters, J the Jacobian of adaptation.
        """
        _, fisher = self.outer.hessian(kl, stationary=True)
        return lambda vector: self.vjp(fisher(self.jvp(vector)))

    def inner_kl(self) -> Tensor:
        """KL divergence of the inner policies from those that collected the data, summed over steps and tasks."""
        return torch.stack([step.problem.kl(step.linearized.distribution).sum() for step in self.steps]).sum().detach()
