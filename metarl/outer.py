"""Outer steps: trust region with conjugate gradients (TRPO), or Adam on a clipped or plain policy gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from envs.errors import require, unknown
from metarl.distributed import all_sum
from metarl.graphs import Graphs
from metarl.meta_gradient import Linearized, TaskGroup
from metarl.rollout import Trajectory
from metarl.trpo import conjugate_gradient, line_search


@dataclass(frozen=True)
class TRPOConfig:
    """Trust-region policy optimization (Schulman et al. 2015) of the meta-parameters."""

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
        for name in ("max_kl", "cg_damping"):
            value = getattr(self, name)
            require(math.isfinite(value) and value >= 0, f"{name} must be a number of at least 0, not {value}.")
        require(self.curvature_episodes >= 0, f"curvature_episodes must be at least 0, not {self.curvature_episodes}.")
        for name in ("cg_iterations", "line_search_steps"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, not {getattr(self, name)}.")
        shrink = self.line_search_shrink
        require(0 <= shrink <= 1, f"line_search_shrink must lie in [0, 1], not {shrink}.")


@dataclass(frozen=True)
class AdamConfig:
    """First-order outer steps: Adam on the likelihood-ratio objective."""

    objective: Literal["clip", "vpg"] = "clip"
    """The clipped surrogate of PPO, or a plain policy gradient step."""
    outer_lr: float = 1e-3
    """Step size of Adam."""
    num_outer_steps: int = 5
    """Steps on the same trajectories; the plain policy gradient takes one."""
    clip: float = 0.3
    """Likelihood ratios count up to 1 ± this."""
    inner_kl_coef: float = 0.0
    """Weight of the KL divergence of the new inner policies from those that collected the data; ProMP's is 5e-4."""
    target_inner_kl: float = 0.0
    """Where positive, the weight is doubled or halved to keep that divergence within a factor 1.5 of this."""

    def __post_init__(self) -> None:
        if self.objective not in ("clip", "vpg"):
            raise unknown("objective", self.objective, ("clip", "vpg"))
        for name in ("outer_lr", "clip", "inner_kl_coef", "target_inner_kl"):
            value = getattr(self, name)
            require(0 <= value <= 1e6, f"{name} must lie in [0, 1e6], not {value}.")
        require(self.num_outer_steps >= 1, f"num_outer_steps must be at least 1, not {self.num_outer_steps}.")
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


@dataclass(frozen=True)
class Problem:
    """The outer objective of a meta-batch, as groups of tasks."""

    groups: Callable[[slice], list[TaskGroup]]
    """Groups that cover all tasks of this process, from a slice of the episodes of each."""
    num_tasks: int
    """Of all processes."""
    num_envs: int


Pose = Callable[[Tensor, list[Trajectory]], Problem]
"""`(meta [M], trajectories) -> problem`, with the outer advantages of the last trajectory."""


class Posed:
    """The groups of a problem, for functions of tensors that work on what an earlier one has posed."""

    def pose(self, problem: Problem) -> list[TaskGroup]:
        self.groups, self.num_tasks = problem.groups(slice(None)), problem.num_tasks
        return self.groups

    def mean(self, terms: Iterable[Tensor]) -> Tensor:
        """Over tasks, from a sum of each group."""
        return sum_over(terms) / self.num_tasks

    def entropy(self) -> Tensor:
        """Of the policies that collected the data, a mean over their steps and tasks."""
        return self.mean(group.entropy() for group in self.groups)


class OuterStep:
    """What outer steps have in common: problems by shape, which their recordings work on."""

    def __init__(self) -> None:
        self._recorded: dict[Hashable, Posed] = {}

    def posed(self, case: Hashable, graphs: Graphs) -> Posed:
        """Where the functions of a case find their problem: the same for all their recordings, else for one step."""
        return self._recorded.setdefault(case, Posed()) if graphs.record else Posed()


class TRPO(OuterStep):
    """A natural-gradient step with a line search. Holds no state between steps.

    What comes before the line search, and each evaluation in it, is a function of tensors that `graphs` can record.
    """

    def __init__(self, config: TRPOConfig) -> None:
        super().__init__()
        self.config = config

    def step(
        self, pose: Pose, meta: Tensor, trajectories: list[Trajectory], graphs: Graphs
    ) -> tuple[Tensor, dict[str, float]]:
        c, case = self.config, _shape(trajectories)
        posed = self.posed(case, graphs)

        def search(meta: Tensor, trajectories: list[Trajectory]) -> tuple[Tensor, Tensor]:
            """The full step [M]; the norm of the gradient, the loss and the entropy [3]."""
            problem = pose(meta, trajectories)
            groups = posed.pose(problem)
            some = 0 < c.curvature_episodes < problem.num_envs
            curved = problem.groups(slice(c.curvature_episodes)) if some else groups
            products = [g.here.curvature(g.kl) for g in curved]

            def curvature(vector: Tensor) -> Tensor:
                return posed.mean(product(vector) for product in products) + c.cg_damping * vector

            gradient = posed.mean(g.here.gradient(g.surrogate) for g in groups)
            direction, residual = conjugate_gradient(curvature, gradient, c.cg_iterations)
            scale = torch.sqrt(2 * c.max_kl / (direction @ (gradient - residual)).clamp_min(1e-30))
            loss = posed.mean(g.surrogate(g.old).sum() for g in groups)
            return scale * direction, torch.stack([gradient.norm(), loss, posed.entropy()])

        def evaluate(candidate: Tensor) -> Tensor:
            """Loss and divergence [2]."""
            return posed.mean(g.evaluate(candidate) for g in posed.groups)

        full_step, numbers = graphs(("search", case), search, meta, trajectories)
        grad_norm, loss, entropy = numbers.tolist()
        meta, metrics = line_search(
            lambda candidate: graphs(("evaluate", case), evaluate, candidate),
            meta, full_step, loss, c.max_kl, c.line_search_steps, c.line_search_shrink,
        )  # fmt: skip
        return meta, {"grad_norm": grad_norm, **metrics, "entropy": entropy}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class Adam(OuterStep):
    """Steps of Adam on the same trajectories, each with adaptation computed anew from the moved meta-parameters."""

    def __init__(self, config: AdamConfig, meta: Tensor) -> None:
        super().__init__()
        self.config, self.inner_kl_coef = config, config.inner_kl_coef
        self.leaf = meta.clone().requires_grad_()
        self.adam = torch.optim.Adam([self.leaf], config.outer_lr)

    def step(
        self, pose: Pose, meta: Tensor, trajectories: list[Trajectory], graphs: Graphs
    ) -> tuple[Tensor, dict[str, float]]:
        c, coef = self.config, self.inner_kl_coef
        penalized = coef > 0 and len(trajectories) > 1
        weight = meta.new_tensor(coef) if penalized else None
        case = (penalized, _shape(trajectories))
        posed = self.posed(case, graphs)

        def gradient(points: Iterable[Linearized], weight: Tensor | None) -> Tensor:
            pairs = zip(posed.groups, points, strict=True)
            return posed.mean(x.gradient(partial(g.clipped_surrogate, clip=self.clip), weight) for g, x in pairs)

        def first(meta: Tensor, trajectories: list[Trajectory], weight: Tensor | None) -> tuple[Tensor, Tensor]:
            return gradient([group.here for group in posed.pose(pose(meta, trajectories))], weight), posed.entropy()

        def later(meta: Tensor, weight: Tensor | None) -> Tensor:
            return gradient((group.at(meta) for group in posed.groups), weight)  # one at a time, for its memory

        def evaluate(meta: Tensor) -> Tensor:
            """Loss, divergence, and that of the inner policies where it counts [2 or 3]."""
            values = posed.mean(group.evaluate(meta) for group in posed.groups)
            if not penalized:
                return values
            return torch.cat([values, posed.mean(group.inner_divergence(meta) for group in posed.groups).unsqueeze(0)])

        self.leaf.data = meta.clone()
        self.leaf.grad, entropy = graphs(("first gradient", case), first, meta, trajectories, weight)
        norm = self.leaf.grad.norm()
        self.adam.step()
        for _ in range(c.num_outer_steps - 1):
            self.leaf.grad = graphs(("later gradient", case), later, self.leaf.detach(), weight)
            self.adam.step()
        meta = self.leaf.detach().clone()
        grad_norm, loss, kl, *rest = [float(norm), *graphs(("evaluate", case), evaluate, meta).tolist()]
        metrics = {"grad_norm": grad_norm, "loss": loss, "kl": kl, "entropy": float(entropy)}
        if penalized:
            (inner,) = rest
            metrics |= {"inner_kl": inner, "inner_kl_coef": coef}
            if c.target_inner_kl:
                self.inner_kl_coef *= 2.0 if inner > 1.5 * c.target_inner_kl else 1.0
                self.inner_kl_coef *= 0.5 if inner < c.target_inner_kl / 1.5 else 1.0
        return meta, metrics

    @property
    def clip(self) -> float:
        return self.config.clip if self.config.objective == "clip" else math.inf

    def state_dict(self) -> dict[str, Any]:
        return {"adam": self.adam.state_dict(), "inner_kl_coef": self.inner_kl_coef}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state["adam"])
        self.inner_kl_coef = float(state["inner_kl_coef"])


def _shape(trajectories: list[Trajectory]) -> tuple[int, torch.Size]:
    return len(trajectories), trajectories[-1].reward.shape


def sum_over(terms: Iterable[Tensor]) -> Tensor:
    """The sum of the terms of all processes: of gradients, curvature products, losses and divergences."""
    return all_sum(torch.stack(list(terms)).sum(0))
