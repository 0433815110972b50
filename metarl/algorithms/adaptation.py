"""Adaptation as a differentiable function of the meta-parameters.

Inner step k moves the parameters of each task from θ[k] to θ[k+1] = θ[k] - α g[k], with g the gradient of the inner
loss and H its Hessian. Where the rates α are learned beside θ[0] (Meta-SGD, Li et al. 2017; one for each step and
tensor, Antoniou et al. 2019), a change (dθ, dα) of the meta-parameters moves the adapted policy by products of I - αH,
applied to dθ, and by -g dα from each step.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        kind: "fixed", "tensor" (one learned rate for each tensor of the policy), "parameter" (one for each number), or
            "step" (one for each tensor and inner step, held as factors of `inner_lr`, so that an outer step changes
            large and small ones alike).
        inner_lr: the fixed rate, or the first value of the learned ones.
        num_steps: inner steps with rates of their own, if the kind is "step"; later ones share the last step's.
        moved: the parameters that inner steps move (ANIL, CAVIA); the rates of all others are 0.
    """

    def __init__(
        self, kind: str, inner_lr: float, policy: Policy, num_steps: int = 1, moved: slice = slice(None)
    ) -> None:
        self.kind, self.inner_lr, self.num_parameters = kind, inner_lr, policy.num_parameters
        sizes = {"fixed": [], "parameter": [1] * policy.num_parameters}.get(kind, policy.tensor_sizes)
        self.index = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes, dtype=torch.int64))
        self.num_rates = len(sizes)  # of a step
        self.num_sets = num_steps if kind == "step" else 1
        self.mask: Tensor | None = None
        if moved != slice(None):
            self.mask = torch.zeros(policy.num_parameters)
            self.mask[moved] = 1

    def init(self, params: Tensor) -> Tensor:
        """Meta-parameters [M] from the policy's [P]."""
        first = 1.0 if self.kind == "step" else self.inner_lr
        return torch.cat([params, params.new_full((self.num_sets * self.num_rates,), first)])

    def masked(self, rate: Tensor | float, like: Tensor) -> Tensor | float:
        """Rates [..., P], or one for all, with those of parameters that do not move set to 0."""
        return rate if self.mask is None else rate * self.mask.to(like)

    def split(self, meta: Tensor, step: int = 0) -> tuple[Tensor, Tensor | float]:
        """Parameters [..., P] and the rates of an inner step: [..., P], or a number when they are fixed."""
        params, learned = meta[..., : self.num_parameters], meta[..., self.num_parameters :]
        if self.kind == "fixed":
            return params, self.masked(self.inner_lr, params)
        start = self._set(step) * self.num_rates
        self.index = self.index.to(meta.device)
        rates = learned[..., start : start + self.num_rates]
        if self.kind == "step":
            rates = rates * self.inner_lr
        return params, self.masked(rates if self.kind == "parameter" else rates[..., self.index], params)

    def tangent(self, vector: Tensor, step: int = 0) -> tuple[Tensor, Tensor | None]:
        """A change of the meta-parameters [..., M] as one of parameters and one of a step's rates [..., P] or None."""
        params, rates = self.split(vector, step)
        return params, None if self.kind == "fixed" else rates  # type: ignore[return-value]

    def join(self, params: Tensor, by_step: Sequence[Tensor]) -> Tensor:
        """The transpose of `tangent`: gradients by parameter and by each step's rates [..., P] as one [..., M]."""
        if self.kind == "fixed":
            return params
        sums = [torch.zeros_like(params) for _ in range(self.num_sets)]
        for step, rates in enumerate(by_step):
            sums[self._set(step)] = sums[self._set(step)] + self.masked(rates, rates)
        if self.kind != "parameter":
            index, shape = self.index.to(params.device), (*params.shape[:-1], self.num_rates)
            sums = [params.new_zeros(shape).index_add_(-1, index, rates) for rates in sums]
        if self.kind == "step":
            sums = [self.inner_lr * rates for rates in sums]
        return torch.cat([params, *sums], -1)

    def _set(self, step: int) -> int:
        return min(step, self.num_sets - 1)


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
    rate: Tensor | float  # [P], or one for all parameters
    gradient: Tensor  # [N, P] of the inner loss
    hessian: Product


class Adaptation:
    """Inner steps from meta-parameters [M] to adapted policies, and derivatives through them.

    Stage k is what the policy does after k inner steps; there are K + 1 stages for K steps.

    Args:
        problems: of the inner steps, in their order. The first adaptation on them must start from the meta-parameters
            that collected their trajectories.
        outer: the trajectory after adaptation, on whose states adapted policies are linearized.
        many_products: many products with its Jacobian follow, as in conjugate gradient.
    """

    def __init__(
        self,
        policy: Policy,
        rates: Rates,
        meta: Tensor,
        problems: list[InnerProblem],
        outer: Trajectory,
        many_products: bool = False,
    ) -> None:
        self.rates, self.num_tasks = rates, len(outer)
        params, _ = rates.split(meta)
        self.second_order = all(problem.loss.estimator != "first-order" for problem in problems)
        adapted = params.expand(self.num_tasks, -1)
        self.steps: list[InnerStep] = []
        for k, problem in enumerate(problems):
            linearized = linearize(policy, adapted, problem.trajectory.inputs)
            objective = problem.collected_by(linearized.distribution)
            if self.second_order:
                gradient, hessian = linearized.hessian(objective, many_products)
            else:
                gradient, hessian = linearized.gradient(objective), torch.zeros_like
            _, rate = rates.split(meta, k)
            self.steps.append(InnerStep(problem, linearized, rate, gradient, hessian))
            adapted = adapted - rate * gradient
        self.outer = linearize(policy, adapted, outer.inputs)
        self.stages = [*(step.linearized for step in self.steps), self.outer]

    def jvp(self, vector: Tensor) -> list[Tensor]:
        """How the parameters [N, P] of each stage move with the meta-parameters: its Jacobian times `vector` [M]."""
        moved = [self.rates.split(vector)[0].expand(self.num_tasks, -1)]
        for k, step in enumerate(self.steps):
            _, rate = self.rates.tangent(vector, k)
            after = moved[-1]
            if self.second_order:
                after = after - step.rate * step.hessian(after)
            if rate is not None:
                after = after - rate * step.gradient
            moved.append(after)
        return moved

    def vjp(self, vectors: Sequence[Tensor | None], inner_kl_coef: Tensor | None = None) -> Tensor:
        """The transpose: gradients [N, P] at the parameters of each stage as one [M] of the meta-parameters.

        Args:
            vectors: one for each stage, None for zero; the last must be a tensor.
            inner_kl_coef: adds the gradient of that times the KL divergences of the inner policies from those that
                collected the data (Rothfuss et al. 2018, eq. 12).
        """
        vector = vectors[-1]
        assert vector is not None
        by_step: list[Tensor] = []
        for step, own in zip(reversed(self.steps), reversed(vectors[:-1]), strict=True):
            by_step.insert(0, -step.gradient * vector)
            if self.second_order:
                each = isinstance(step.rate, Tensor)  # a single rate commutes with the Hessian
                product = step.hessian(step.rate * vector) if each else step.rate * step.hessian(vector)
                vector = vector - product
            if own is not None:
                vector = vector + own
            if inner_kl_coef is not None:
                vector = vector + inner_kl_coef * step.linearized.gradient(step.problem.kl)
        return self.rates.join(vector, by_step).sum(0)

    def gradient(self, losses: Sequence[Objective | None], inner_kl_coef: Tensor | None = None) -> Tensor:
        """Gradient [M] of losses of the action distributions of each stage, summed over stages and tasks."""
        pairs = zip(self.stages, losses, strict=True)
        return self.vjp([None if loss is None else stage.gradient(loss) for stage, loss in pairs], inner_kl_coef)

    def curvature(self, divergences: Sequence[Objective | None]) -> Product:
        """The product of the Hessian of the sum of each stage's KL divergence with a vector [M], where policies agree.

        There the divergence has no gradient, so the chain rule leaves JᵀFJ: F is the Hessian in a stage's parameters,
        J the Jacobian of adaptation.
        """
        pairs = zip(self.stages, divergences, strict=True)
        fishers = [None if kl is None else stage.gauss_newton(kl) for stage, kl in pairs]

        def product(vector: Tensor) -> Tensor:
            moved = zip(fishers, self.jvp(vector), strict=True)
            return self.vjp([None if fisher is None else fisher(change) for fisher, change in moved])

        return product

    def inner_kl(self) -> Tensor:
        """KL divergence of the inner policies from those that collected the data, summed over steps and tasks."""
        return torch.stack([step.problem.kl(step.linearized.distribution).sum() for step in self.steps]).sum().detach()
