"""Gradient-based meta-learning: MAML and its relatives (Finn, Abbeel & Levine 2017, algorithm 3).

Three choices define a method: how a policy adapts (`InnerConfig`; Meta-SGD, Li et al. 2017, learns the rates), how the
derivative through adaptation is estimated (`ESTIMATORS`), and how the outer step is taken (`TRPOConfig`, `AdamConfig`).
ProMP (Rothfuss et al. 2018) is the low-variance estimator with clipped outer steps and a penalty on the inner KL.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from torch import Generator, Tensor

from envs.core import Env
from envs.fields import NonNegativeInt, PositiveFloat
from envs.structs import Struct
from metarl.algorithms.adaptation import Rates
from metarl.algorithms.base import (
    Algorithm,
    AlgorithmConfig,
    InnerLearner,
    Setup,
    Stages,
    check_num_parameters,
)
from metarl.algorithms.credit import OuterStages, outer_advantages, stage_weights
from metarl.algorithms.inner import InnerConfig, InnerLoss, sgd_adapt, value_network
from metarl.algorithms.objective import MetaObjective, TaskGroup
from metarl.algorithms.outer import TRPO, Adam, AdamConfig, TRPOConfig
from metarl.backend.cuda_graphs import Graphs
from metarl.learning.rollout import Adapter, Play, Trajectory, collect, player
from metarl.policies.mlp import Policy


@dataclass(frozen=True)
class MAMLConfig(InnerConfig, AlgorithmConfig):
    """Gradient-based meta-learning through the inner steps."""

    takes_a_policy = params_per_task = True

    estimator: Literal["first-order", "naive", "lvc", "dice", "e-maml"] = "naive"
    """How the outer gradient passes through adaptation; docs/estimators.md measures bias and variance of each."""
    learned_rates: Literal["none", "tensor", "step", "parameter"] = "none"
    """Learn inner learning rates, starting at inner_lr: for each tensor of the policy, for each tensor and inner step
    (MAML++, Antoniou et al. 2019; halve_test_lr leaves them as they are), or for each parameter (Meta-SGD)."""
    adapt: Literal["all", "head", "context"] = "all"
    """What inner steps move: all parameters, the output layer and the std (ANIL, Raghu et al. 2020), or the policy's
    context vector (CAVIA, Zintgraf et al. 2019), whose size is context_size."""
    outer_stages: OuterStages = "last"
    """Whose return the outer objective is: that after the last inner step, the mean over the stages after each step
    (the multi-step loss of MAML++), or over all, with the stage before any step: the return of the whole trial."""
    outer_baseline: Literal["task", "batch"] = "task"
    """Baseline of the outer advantages: that of the inner steps, or, for few episodes a task, a linear fit to all tasks
    of a stage by observation, time and earlier rewards."""
    outer_scale: Literal["batch", "task"] = "batch"
    """Divide outer advantages by one standard deviation for the whole meta-batch, so that the outer objective is the
    mean return of the tasks; or by each task's own, as others do, which favours tasks that are nearly solved."""
    pretrain_iterations: NonNegativeInt = 0
    """Initial meta-iterations without inner steps: ordinary multi-task training, by clipped steps of Adam (PPO). From
    parameters that lie between the tasks, one gradient step can tell them apart."""
    pretrain_envs: NonNegativeInt = 0
    """Episodes on each task in those meta-iterations, 0 for as many as later. Without inner steps to learn from them,
    few suffice, and more and smaller batches teach more."""
    pretrain_lr: PositiveFloat = 3e-3
    """Adam's learning rate in those meta-iterations."""
    outer: TRPOConfig | AdamConfig = field(default_factory=TRPOConfig)

    def make(self, setup: Setup) -> MAML:
        return MAML(self, setup.env, setup.mlp(MAML.name), setup.generator)

    @property
    def rounds(self) -> int:
        return self.num_inner_steps + 1

    def most_episodes(self, num_envs: int) -> int:
        return max(super().most_episodes(num_envs), self.pretrain_envs if self.pretrain_iterations else 0)

    def pretrain_rounds(self, num_envs: int) -> float:
        """Episodes of all pretraining, in meta-batches of `num_envs` episodes a task."""
        return self.pretrain_iterations * (self.pretrain_envs or num_envs) / num_envs

    @property
    def smaller_steps(self) -> str:
        return self.outer.smaller_steps


class MAML(Algorithm):
    """Holds the meta-parameters; `adapters` move a policy to a task, `update` improves the meta-parameters.

    Attributes:
        meta: [M] the policy's parameters, followed by learned inner learning rates.
    """

    name = "MAML"
    graphs: Graphs

    def __init__(self, config: MAMLConfig, env: Env, policy: Policy, generator: Generator) -> None:
        self.config, self.policy, self.generator = config, policy, generator
        kind = "fixed" if config.learned_rates == "none" else config.learned_rates
        self.rates = Rates(kind, config.inner_lr, policy, config.num_inner_steps, policy.part(config.adapt))
        self.graphs = Graphs()
        self.meta = self.rates.init(policy.init(generator))
        self.value = value_network(config, env, generator)
        self.updates = 0
        self.outer = config.outer.make(self.meta)
        self.pretrainer = AdamConfig(outer_lr=config.pretrain_lr).make(self.meta)

    @property
    def params(self) -> Tensor:
        """The policy's parameters before adaptation [P]."""
        return self.rates.split(self.meta)[0]

    @property
    def inner(self) -> InnerLearner:
        rate = self.rates.split(self.meta)[1]

        def step(scale: float, inner_lr: float | None) -> Adapter:
            loss = InnerLoss.of(self.config, "naive", self.value)
            first = rate if inner_lr is None else self.rates.masked(inner_lr, self.meta)
            return sgd_adapt(self.policy, loss, first * scale)

        return InnerLearner(
            self.policy,
            self.params,
            partial(self.adapters, test=True),
            step,
            float(rate[rate != 0].abs().mean()) if isinstance(rate, Tensor) else rate,
            self.config.num_inner_steps,
            self.value,
        )

    @property
    def loss(self) -> InnerLoss:
        return InnerLoss.of(self.config, self.config.estimator, self.value)

    @property
    def pretraining(self) -> bool:
        """Is this meta-iteration without inner steps?"""
        return self.updates < self.config.pretrain_iterations

    @property
    def num_inner_steps(self) -> int:
        """As many as this meta-iteration trains with."""
        return 0 if self.pretraining else self.config.num_inner_steps

    @property
    def optimizer(self) -> TRPO | Adam:
        """Takes this meta-iteration's step."""
        return self.pretrainer if self.pretraining else self.outer

    def adapters(self, num_steps: int | None = None, test: bool = False, meta: Tensor | None = None) -> list[Adapter]:
        """One adapter for each inner step, by default `num_inner_steps`.

        Args:
            test: apply `halve_test_lr`.
            meta: meta-parameters [M] that hold the learning rates, by default the current ones.
        """
        num_steps = self.num_inner_steps if num_steps is None else num_steps
        halve = test and self.config.learned_rates != "step"
        factors = self.config.test_rates(num_steps) if halve else [1.0] * num_steps
        rates = [self.rates.split(self.meta if meta is None else meta, k)[1] for k in range(num_steps)]
        return [sgd_adapt(self.policy, self.loss, r * factor) for r, factor in zip(rates, factors, strict=True)]

    def collect(self, env: Env, task: Struct, num_envs: int, generator: Generator) -> list[Trajectory]:
        """Episodes before adaptation and after each inner step, to train on."""

        def play(meta: Tensor, task: Struct) -> list[Trajectory]:
            params, adapters = self.rates.split(meta)[0], self.adapters(meta=meta)
            return collect(env, self.policy, params, task, adapters, num_envs, generator)

        num_envs = (self.pretraining and self.config.pretrain_envs) or num_envs
        name = ("collect", self.num_inner_steps, num_envs)
        return self.graphs(name, play, self.meta, task, generators=[generator])

    def stages(self, num_steps: int | None = None) -> Stages:
        """By default at least the stages that training has."""
        return super().stages(max(3, self.config.num_inner_steps) if num_steps is None else num_steps)

    def play(self, env: Env, num_envs: int, generator: Generator, stages: Stages, greedy: bool = False) -> Play:
        adapters = self.adapters(stages.num_steps, test=True)
        return player(env, self.policy, self.params, adapters, num_envs, generator, greedy)

    def objective(self, theta: Tensor, trajectories: list[Trajectory]) -> MetaObjective:
        """The outer objective that trajectories define, at the meta-parameters [M] that collected them."""
        c = self.config
        baseline = c.baseline if c.outer_baseline == "task" else "batch"
        per_batch, explore = c.outer_scale == "batch", c.estimator == "e-maml"
        own = outer_advantages(
            trajectories, c.outer_stages, explore, c.gamma, c.gae_lambda, self.value, baseline, per_batch
        )
        weights = stage_weights(c.outer_stages, len(trajectories))
        group = partial(TaskGroup, self.policy, self.rates, self.loss, theta, weights=weights, clip=self.optimizer.clip)
        return MetaObjective(group, trajectories, own)

    def update(self, trajectories: list[Trajectory]) -> dict[str, float]:
        """One outer step from what `collect` returned. Returns metrics."""
        c = self.config
        objective = self.graphs.capture("objective", self.objective, self.meta, trajectories)
        self.meta, metrics = self.optimizer.step(objective, self.meta)
        self.updates += 1
        if self.value is not None:
            metrics["value_explained"] = self.value.fit(trajectories, c.value_epochs, self.generator)
        if c.learned_rates != "none":
            metrics["mean_rate"] = float(self.meta[self.policy.num_parameters :].mean())
        return metrics

    def state_dict(self) -> dict[str, Any]:
        state = {"params": self.meta, "optimizer": self.outer.state_dict(), "updates": self.updates}
        if self.pretraining:
            state["pretrainer"] = self.pretrainer.state_dict()
        return state if self.value is None else {**state, "value": self.value.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_num_parameters(state["params"], self.meta)
        self.meta, self.updates = state["params"], int(state["updates"])
        self.outer.load_state_dict(state["optimizer"])
        if "pretrainer" in state:
            self.pretrainer.load_state_dict(state["pretrainer"])
        if self.value is not None:
            self.value.load_state_dict(state["value"])
