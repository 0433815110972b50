"""Outer steps on the meta-objective: TRPO, or Adam on a clipped or plain policy gradient.

The functions marked `capturable` compute with tensors alone: nothing in them is decided on the host.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from envs.errors import require
from envs.fields import Checked, Coefficient, Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt
from metarl.algorithms.objective import MetaObjective
from metarl.backend.cuda_graphs import capturable
from metarl.learning.trpo import conjugate_gradient, line_search


@dataclass(frozen=True)
class TRPOConfig(Checked):
    """Trust-region policy optimization (Schulman et al. 2015) of the meta-parameters."""

    max_kl: NonNegativeFloat = 0.01
    """Trust region of the outer step: mean KL divergence between the old and new adapted policies, in nats."""
    cg_iterations: PositiveInt = 10
    """Conjugate gradient iterations."""
    cg_damping: NonNegativeFloat = 1e-5
    """Added to the diagonal of the curvature."""
    curvature_episodes: NonNegativeInt = 0
    """Episodes of each task from which conjugate gradient takes the curvature; 0 takes all. Schulman et al. subsample
    here, too. The line search always checks the step on all episodes."""
    line_search_steps: PositiveInt = 15
    """Steps that the line search tries before it keeps the old parameters."""
    line_search_shrink: Fraction = 0.8
    """Factor between two successive steps."""

    @property
    def smaller_steps(self) -> str:
        return f"--max-kl {self.max_kl / 2:g}"

    def make(self, meta: Tensor) -> TRPO:
        return TRPO(self)


@dataclass(frozen=True)
class AdamConfig(Checked):
    """First-order outer steps: Adam on the likelihood-ratio objective."""

    objective: Literal["clip", "vpg"] = "clip"
    """The clipped surrogate of PPO, or a plain policy gradient step."""
    outer_lr: Coefficient = 1e-3
    """Learning rate of Adam."""
    num_outer_steps: PositiveInt = 5
    """Steps on the same trajectories; the plain policy gradient takes one."""
    clip: Coefficient = 0.3
    """Likelihood ratios are clipped to 1 ± this."""
    inner_kl_coef: Coefficient = 0.0
    """Weight of the KL divergence of the new inner policies from those that collected the data; ProMP's is 5e-4."""
    target_inner_kl: Coefficient = 0.0
    """If positive, the weight is doubled or halved to keep that divergence within a factor of 1.5 of this."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.objective == "clip" or self.num_outer_steps == 1,
            "The plain policy gradient (objective 'vpg') holds for one step on its data; set num_outer_steps to 1.",
        )
        require(
            self.target_inner_kl == 0 or self.inner_kl_coef > 0,
            "target_inner_kl adapts inner_kl_coef, which must then start above 0, such as 5e-4.",
        )
        require(
            self.inner_kl_coef == 0 or self.num_outer_steps > 1,
            "inner_kl_coef acts from the second outer step on; with num_outer_steps 1, set it to 0.",
        )

    @property
    def smaller_steps(self) -> str:
        return f"--outer-lr {self.outer_lr / 2:g}"

    def make(self, meta: Tensor) -> Adam:
        return Adam(self, meta)


class TRPO:
    """A natural-gradient step with a line search (Schulman et al. 2015). Holds no state between steps."""

    clip: float | None = None

    def __init__(self, config: TRPOConfig) -> None:
        self.config = config

    def step(self, objective: MetaObjective, theta: Tensor) -> tuple[Tensor, dict[str, float]]:
        """New meta-parameters [M] from θ₀ = `theta`, and metrics."""
        c = self.config
        full_step, numbers = natural_gradient_step(objective, c)
        grad_norm, loss, entropy = numbers.tolist()
        theta, metrics = line_search(
            partial(evaluate, objective),
            theta,
            full_step,
            loss,
            c.max_kl,
            c.line_search_steps,
            c.line_search_shrink,
        )
        return theta, {"grad_norm": grad_norm, **metrics, "entropy": entropy}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


@capturable
def natural_gradient_step(objective: MetaObjective, config: TRPOConfig) -> tuple[Tensor, Tensor]:
    """The step [M] to the edge of the trust region; and the gradient's norm, the loss and the entropy [3]."""
    hessian, gradient = objective.curvature(config.curvature_episodes), objective.gradient()
    direction, residual = conjugate_gradient(
        lambda vector: hessian(vector) + config.cg_damping * vector, gradient, config.cg_iterations
    )
    length = torch.sqrt(2 * config.max_kl / (direction @ (gradient - residual)).clamp_min(1e-30))
    return length * direction, torch.stack([gradient.norm(), objective.loss(), objective.entropy()])


@capturable
def evaluate(objective: MetaObjective, theta: Tensor) -> Tensor:
    return objective.evaluate(theta)


@capturable
def first_gradient(objective: MetaObjective, inner_kl_coef: Tensor | None) -> tuple[Tensor, Tensor]:
    """Of J at θ₀ [M]; and the entropy."""
    return objective.gradient(inner_kl_coef=inner_kl_coef), objective.entropy()


@capturable
def gradient(objective: MetaObjective, theta: Tensor, inner_kl_coef: Tensor | None) -> Tensor:
    return objective.gradient(theta, inner_kl_coef)


@capturable
def inner_kl(objective: MetaObjective, theta: Tensor) -> Tensor | None:
    return objective.inner_kl(theta)


class Adam:
    """Steps of Adam on the same trajectories; each recomputes adaptation from the updated meta-parameters."""

    def __init__(self, config: AdamConfig, meta: Tensor) -> None:
        self.config, self.inner_kl_coef = config, config.inner_kl_coef
        self.clip = config.clip if config.objective == "clip" else math.inf
        self.leaf = meta.clone().requires_grad_()
        self.adam = torch.optim.Adam([self.leaf], config.outer_lr)

    def step(self, objective: MetaObjective, theta: Tensor) -> tuple[Tensor, dict[str, float]]:
        """New meta-parameters [M] from θ₀ = `theta`, and metrics."""
        coef = theta.new_full((), self.inner_kl_coef) if self.inner_kl_coef > 0 else None
        self.leaf.data = theta.clone()
        self.leaf.grad, entropy = first_gradient(objective, coef)
        norm = self.leaf.grad.norm()
        self.adam.step()
        for _ in range(self.config.num_outer_steps - 1):
            self.leaf.grad = gradient(objective, self.leaf.detach(), coef)
            self.adam.step()
        theta = self.leaf.detach().clone()
        moved = None if coef is None else inner_kl(objective, theta)
        tensors = [norm, *evaluate(objective, theta), entropy, norm if moved is None else moved]
        *numbers, inner = torch.stack(tensors).tolist()  # one read of the device
        metrics = dict(zip(("grad_norm", "loss", "kl", "entropy"), numbers, strict=True))
        if moved is not None:
            metrics |= {"inner_kl": inner, "inner_kl_coef": self.inner_kl_coef}
            self._adapt_inner_kl_coef(inner)
        return theta, metrics

    def _adapt_inner_kl_coef(self, moved: float) -> None:
        target = self.config.target_inner_kl
        if target:
            self.inner_kl_coef *= 2.0 if moved > 1.5 * target else 1.0
            self.inner_kl_coef *= 0.5 if moved < target / 1.5 else 1.0

    def state_dict(self) -> dict[str, Any]:
        return {"adam": self.adam.state_dict(), "inner_kl_coef": self.inner_kl_coef}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state["adam"])
        self.inner_kl_coef = float(state["inner_kl_coef"])
