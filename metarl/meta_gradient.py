"""The outer objective of gradient-based meta-learning and its derivatives through the inner steps.

Inner step k moves the parameters of each task from θ[k] to θ[k+1] = θ[k] - α g[k], g the gradient of the inner loss and
H its Hessian. With the rates α learned beside θ[0] (Meta-SGD, Li et al. 2017), a change (dθ, dα) of the
meta-parameters moves the adapted policy by products of I - αH, applied to dθ, and by -g dα from each step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from metarl import losses
from metarl.adapt import InnerLoss
from metarl.distributions import Distribution
from metarl.linearize import Linearization, Objective, Product, linearize
from metarl.policy import Policy
from metarl.rollout import Trajectory


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


@dataclass(frozen=True, eq=False)
class Step:
    """An inner step at given meta-parameters."""

    linearized: Linearization
    gradient: Tensor  # [N, P] of the inner loss
    hessian: Product
    kl: Objective  # divergence from the policy that collected the step's trajectory


class TaskGroup:
    """Some tasks' outer objective, as the trajectories that the meta-parameters [M] collected define it.

    Everything it returns is a sum over its tasks, so that groups can be added up.

    Args:
        advantage: [N, T, E] of the last trajectory, on which the outer objective stands.
    """

    def __init__(
        self,
        policy: Policy,
        rates: Rates,
        loss: InnerLoss,
        meta: Tensor,
        trajectories: list[Trajectory],
        advantage: Tensor,
    ) -> None:
        self.policy, self.rates, self.loss, self.advantage = policy, rates, loss, advantage
        *self.inner, self.outer = trajectories
        self.objectives: list[Objective] = []
        self.old_inner: list[Distribution] = []
        self.here = Linearized(self, meta)
        self.old = self.here.outer.distribution.detach()
        self.old_log_prob = self.old.log_prob(self.outer.action)

    def surrogate(self, distribution: Distribution) -> Tensor:
        """The outer loss [N]."""
        outer = self.outer
        loss = losses.surrogate(distribution, outer.action, self.advantage, outer.mask, self.old_log_prob)
        return self.loss.regularize(loss, distribution, outer.mask)

    def clipped_surrogate(self, distribution: Distribution, clip: float) -> Tensor:
        outer = self.outer
        loss = losses.clipped_surrogate(distribution, outer.action, self.advantage, outer.mask, self.old_log_prob, clip)
        return self.loss.regularize(loss, distribution, outer.mask)

    def kl(self, distribution: Distribution) -> Tensor:
        """KL divergence [N] of adapted policies from the old adapted ones."""
        return losses.kl_divergence(self.old, distribution, self.outer.mask)

    def inner_kl(self, k: int, distribution: Distribution) -> Tensor:
        """KL divergence [N] from the policy that collected trajectory k."""
        return losses.kl_divergence(self.old_inner[k], distribution, self.inner[k].mask)

    def entropy(self) -> Tensor:
        """Mean entropy, in nats, of the policies that collected the trajectories, at their steps; summed over tasks."""
        policies = zip([*self.old_inner, self.old], [*self.inner, self.outer], strict=True)
        return torch.stack([losses.masked_mean(d.entropy(), t.mask).sum() for d, t in policies]).mean()

    def inner_divergence(self, meta: Tensor) -> Tensor:
        """KL divergence of the inner policies at other meta-parameters [M], summed over steps and tasks."""
        steps = enumerate(self.at(meta).steps)
        return torch.stack([self.inner_kl(k, step.linearized.distribution).sum() for k, step in steps]).sum().detach()

    def at(self, meta: Tensor) -> Linearized:
        """The same objective at other meta-parameters [M]."""
        return Linearized(self, meta)

    def evaluate(self, meta: Tensor) -> Tensor:
        """Surrogate and KL divergence [2] of the policies that other meta-parameters [M] adapt to."""
        params, rate = self.rates.split(meta)
        adapted = params.expand(len(self.outer), -1)
        for trajectory, objective in zip(self.inner, self.objectives, strict=True):
            adapted = adapted - rate * linearize(self.policy, adapted, trajectory.inputs).gradient(objective)
        distribution, _ = self.policy.bind(adapted)(self.outer.inputs, None)
        return torch.stack([self.surrogate(distribution).sum(), self.kl(distribution).sum()])


class Linearized:
    """A TaskGroup at meta-parameters [M]: the inner steps, the adapted policies, and derivatives through both.

    It does not keep the group: the two would hold each other, and their activations would outlive the meta-iteration.
    """

    def __init__(self, group: TaskGroup, meta: Tensor) -> None:
        self.rates, self.num_tasks = group.rates, len(group.outer)
        params, self.rate = group.rates.split(meta)
        self.second_order = group.loss.estimator != "first-order"
        adapted = params.expand(len(group.outer), -1)
        self.steps: list[Step] = []
        for k, trajectory in enumerate(group.inner):
            linearized = linearize(group.policy, adapted, trajectory.inputs)
            if k == len(group.objectives):  # the first time, at the parameters that collected the trajectory
                old = linearized.distribution.detach()
                group.old_inner.append(old)
                group.objectives.append(group.loss.objective(trajectory, old.log_prob(trajectory.action)))
            if self.second_order:
                gradient, hessian = linearized.hessian(group.objectives[k])
            else:
                gradient, hessian = linearized.gradient(group.objectives[k]), torch.zeros_like
            kl = partial(losses.kl_divergence, group.old_inner[k], mask=trajectory.mask)
            self.steps.append(Step(linearized, gradient, hessian, kl))
            adapted = adapted - self.rate * gradient
        self.outer = linearize(group.policy, adapted, group.outer.inputs)

    def push(self, vector: Tensor) -> Tensor:
        """How adapted parameters [N, P] move with the meta-parameters: the Jacobian times `vector` [M]."""
        params, rate = self.rates.tangent(vector)
        moved = params.expand(self.num_tasks, -1)
        for step in self.steps:
            if self.second_order:
                moved = moved - self.rate * step.hessian(moved)
            if rate is not None:
                moved = moved - rate * step.gradient
        return moved

    def pull(self, vector: Tensor, inner_kl_coef: Tensor | None = None) -> Tensor:
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
                vector = vector + inner_kl_coef * step.linearized.gradient(step.kl)
        return self.rates.join(vector, by_rate).sum(0)

    def gradient(self, objective: Objective, inner_kl_coef: Tensor | None = None) -> Tensor:
        """Meta-gradient [M] of an objective of the adapted policies' action distributions, summed over tasks."""
        return self.pull(self.outer.gradient(objective), inner_kl_coef)

    def curvature(self, kl: Objective) -> Product:
        """The product of the Hessian of the outer KL divergence with a vector [M], where both policies agree.

        There the divergence has no gradient, so the chain rule leaves JᵀFJ: F is the Hessian in the adapted
        parameters, J the Jacobian of adaptation.
        """
        _, fisher = self.outer.hessian(kl, stationary=True)
        return lambda vector: self.pull(fisher(self.push(vector)))
