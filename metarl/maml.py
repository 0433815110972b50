"""MAML-TRPO (Finn, Abbeel & Levine 2017, algorithm 3; outer optimizer Schulman et al. 2015)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from envs.errors import require
from metarl import losses
from metarl.adapt import InnerLoss, sgd_adapt
from metarl.advantage import advantages
from metarl.linearize import Product
from metarl.policy import Policy
from metarl.rollout import Adapter, Trajectory
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
    max_kl: float = 0.01
    """Trust region of the outer step: mean KL divergence between the old and new adapted policies, in nats."""
    cg_iterations: int = 10
    """Conjugate gradient iterations."""
    cg_damping: float = 1e-5
    """Added to the diagonal of the curvature."""
    line_search_steps: int = 15
    """Steps that the line search tries before it keeps the old parameters."""
    line_search_shrink: float = 0.8
    """Factor between two of them."""

    def __post_init__(self) -> None:
        for name in ("inner_lr", "max_kl", "cg_damping"):
            value = getattr(self, name)
            require(math.isfinite(value) and value >= 0, f"{name} must be a number of at least 0, not {value}.")
        for name in ("num_inner_steps", "cg_iterations", "line_search_steps"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, not {getattr(self, name)}.")
        for name in ("gamma", "gae_lambda", "line_search_shrink"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} must lie in [0, 1], not {value}.")


class MAML:
    """Holds the meta-parameters `params` [P]; `adapters` move them to a task, `update` improves them."""

    def __init__(self, config: MAMLConfig, policy: Policy, params: Tensor) -> None:
        self.config, self.policy, self.params = config, policy, params
        self.loss = InnerLoss(config.gamma, config.gae_lambda)

    def adapters(self, num_steps: int | None = None, test: bool = False) -> list[Adapter]:
        """One adapter for each inner step; by default as many as in training. `test` applies `halve_test_lr`."""
        num_steps = self.config.num_inner_steps if num_steps is None else num_steps
        halve = test and self.config.halve_test_lr
        rates = [self.config.inner_lr * (0.5 if halve and k > 0 else 1.0) for k in range(num_steps)]
        return [sgd_adapt(self.policy, self.loss, rate) for rate in rates]

    def update(self, trajectories: list[Trajectory]) -> dict[str, float]:
        """One outer step from what `collect` returned. Returns metrics."""
        c = self.config
        *inner, outer = trajectories
        adapted, jacobian, transpose = self.linearize(inner)
        linearized = self.policy.linearize(adapted, outer.inputs)
        old = linearized.distribution.detach()
        old_log_prob = old.log_prob(outer.action)
        advantage = advantages(outer, c.gamma, c.gae_lambda)

        def surrogate(distribution):
            return losses.surrogate(distribution, outer.action, advantage, outer.mask, old_log_prob)

        def kl(distribution):
            return losses.kl_divergence(old, distribution, outer.mask)

        grad = transpose(linearized.gradient(surrogate)).mean(0)
        # At the old parameters the KL divergence has no gradient, so the chain rule leaves JᵀFJ of its Hessian,
        # F being that in the adapted parameters.
        _, fisher = linearized.hessian(kl, stationary=True)

        def curvature(vector: Tensor) -> Tensor:
            tangent = jacobian(vector.expand_as(adapted))
            return transpose(fisher(tangent)).mean(0) + c.cg_damping * vector

        def evaluate(params: Tensor) -> tuple[Tensor, Tensor]:
            distribution, _ = self.policy.bind(self.adapt_all(params, inner))(outer.inputs, None)
            return surrogate(distribution).mean(), kl(distribution).mean()

        direction, residual = conjugate_gradient(curvature, grad, c.cg_iterations)
        scale = torch.sqrt(2 * c.max_kl / (direction @ (grad - residual)).clamp_min(1e-30))
        old_loss = surrogate(old).mean()
        self.params, metrics = line_search(
            evaluate, self.params, scale * direction, old_loss, c.max_kl, c.line_search_steps, c.line_search_shrink
        )
        return {"grad_norm": float(grad.norm()), **metrics}

    def adapt_all(self, params: Tensor, inner: list[Trajectory]) -> Tensor:
        """Parameters [N, P] after one inner step on each of the given trajectories, from params [P]."""
        adapted: Tensor = params.expand(len(inner[0].obs), -1)
        for adapt, trajectory in zip(self.adapters(), inner, strict=True):
            adapted, _ = adapt(adapted, None, trajectory)
        return adapted

    def linearize(self, inner: list[Trajectory]) -> tuple[Tensor, Product, Product]:
        """Adapted parameters [N, P], and the products of the Jacobian of adaptation, and its transpose, with [N, P]."""
        params: Tensor = self.params.expand(len(inner[0].obs), -1)
        products: list[Product] = []
        for trajectory in inner:
            linearized = self.policy.linearize(params, trajectory.inputs)
            grad, product = linearized.hessian(self.loss.objective(trajectory))
            products.append(product)
            params = params - self.config.inner_lr * grad

        def chain(vector: Tensor, order: list[Product]) -> Tensor:
            for product in order:
                vector = vector - self.config.inner_lr * product(vector)
            return vector

        if self.config.first_order:
            return params, lambda v: v, lambda v: v
        return params, lambda v: chain(v, products), lambda v: chain(v, products[::-1])

    def state_dict(self) -> dict[str, Any]:
        return {"params": self.params}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises `ValueError` when the parameters are of another policy."""
        params = state["params"]
        if params.shape != self.params.shape:
            raise ValueError(f"it holds {params.numel()} parameters, the policy has {self.params.numel()}")
        self.params = params
