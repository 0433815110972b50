"""Reptile (Nichol, Achiam & Schulman 2018, algorithm 2) over an ordinary policy-gradient learner.

All tasks learn for k rounds of episodes in parallel from the same initialization, which then moves towards the adapted
parameters. With one round and one SGD step this is the mean gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from envs.core import Env
from envs.fields import Coefficient, Fraction, PositiveInt
from envs.structs import Struct
from metarl.algorithms.base import (
    Algorithm,
    AlgorithmConfig,
    InnerLearner,
    Setup,
    Stages,
    check_num_parameters,
)
from metarl.algorithms.inner import InnerConfig, InnerLoss, value_network
from metarl.backend.cuda_graphs import Graphs
from metarl.backend.distributed import all_mean
from metarl.backend.groups import each_group
from metarl.learning import losses
from metarl.learning.linearize import linearize
from metarl.learning.rollout import Adapter, Play, Trajectory, collect, player, task_slices
from metarl.policies.mlp import Policy


@dataclass(frozen=True)
class ReptileConfig(InnerConfig, AlgorithmConfig):
    """Reptile over vanilla policy gradient or PPO."""

    takes_a_policy = params_per_task = True

    num_inner_steps: PositiveInt = 3
    """Rounds of episodes that each task learns from in training (k)."""
    inner_loss: Literal["vpg", "ppo"] = "vpg"
    """One policy-gradient step per round, or `inner_epochs` steps on PPO's clipped surrogate."""
    inner_epochs: PositiveInt = 5
    """PPO's steps a round."""
    clip: Coefficient = 0.2
    """PPO's likelihood ratios are clipped to 1 ± this."""
    inner_optimizer: Literal["sgd", "adam"] = "sgd"
    """Optimizer of inner steps. Adam's moments are reset for each task."""
    outer_lr: Coefficient = 1.0
    """How far the initialization moves towards the mean of the adapted parameters, in the first meta-iteration."""
    outer_lr_end: Coefficient = 0.0
    """What it falls or rises to, linearly: what a meta-iteration after the last one would use."""
    average_last: Fraction = 0.0
    """Evaluate the mean of the initializations of this last fraction of the run, instead of the last one."""

    def make(self, setup: Setup) -> Reptile:
        return Reptile(self, setup.env, setup.mlp(Reptile.name), setup.generator, setup.num_iterations)

    @property
    def rounds(self) -> int:
        return self.num_inner_steps

    @property
    def smaller_steps(self) -> str:
        return f"--outer-lr {self.outer_lr / 2:g}"


@dataclass(frozen=True, eq=False)
class Moments(Struct):
    """Adam's state for each task (Kingma & Ba 2015)."""

    first: Tensor  # [N, P]
    second: Tensor  # [N, P]
    steps: Tensor  # [N, 1]

    @classmethod
    def zeros(cls, params: Tensor) -> Moments:
        """Before the first step from params [N, P]."""
        zero = torch.zeros_like(params)
        return cls(zero, zero, zero[:, :1])


Optimizer = Callable[[Tensor, Tensor, Any], tuple[Tensor, Any]]
"""`(params [N, P], gradient [N, P], memory) -> (params, memory)`."""


def sgd(lr: float) -> Optimizer:
    return lambda params, gradient, memory: (params - lr * gradient, memory)


def adam(lr: float, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> Optimizer:
    """Adam with a state for each task; its memory starts as None."""

    def step(params: Tensor, gradient: Tensor, memory: Moments | None) -> tuple[Tensor, Moments]:
        if memory is None:
            memory = Moments.zeros(params)
        first = torch.lerp(gradient, memory.first, beta1)
        second = torch.lerp(gradient.square(), memory.second, beta2)
        steps = memory.steps + 1
        move = first / (1 - beta1**steps) / ((second / (1 - beta2**steps)).sqrt() + epsilon)
        return params - lr * move, Moments(first, second, steps)

    return step


def learner(
    policy: Policy, loss: InnerLoss, config: ReptileConfig, factor: float = 1.0, entropies: list[Tensor] | None = None
) -> Adapter:
    """An adapter that learns from one round of episodes.

    Args:
        factor: scales the learning rate.
        entropies: a list that receives the mean entropy of the policies that played [N], in nats.
    """
    make = adam if config.inner_optimizer == "adam" else sgd
    optimize = make(config.inner_lr * factor)

    def learn(params: Tensor, memory: Any, trajectory: Trajectory) -> tuple[Tensor, Any, Tensor]:
        here = linearize(policy, params, trajectory.inputs)
        played = here.distribution.detach()
        entropy = losses.masked_mean(played.entropy(), trajectory.mask)
        if config.inner_loss == "vpg":
            return *optimize(params, here.gradient(loss.objective(trajectory)), memory), entropy
        advantage, action, mask = loss.advantage(trajectory), trajectory.action, trajectory.mask
        old_log_prob = played.log_prob(action)

        def objective(distribution: Any) -> Tensor:
            clipped = losses.clipped_surrogate(distribution, action, advantage, mask, old_log_prob, config.clip)
            return loss.regularize(clipped, distribution, mask)

        for epoch in range(config.inner_epochs):
            if epoch > 0:
                here = linearize(policy, params, trajectory.inputs)
            params, memory = optimize(params, here.gradient(objective), memory)
        return params, memory, entropy

    def adapt(params: Tensor, memory: Any, trajectory: Trajectory) -> tuple[Tensor, Any]:
        def step(tasks: slice) -> tuple[Tensor, Any, Tensor]:
            return learn(params[tasks], None if memory is None else memory[tasks], trajectory[tasks])

        results = each_group(step, task_slices(trajectory), params.device)
        moved, memories, own_entropies = zip(*results, strict=True)
        if entropies is not None:
            entropies.extend(own_entropies)
        return torch.cat(moved), None if memories[0] is None else Moments.cat(memories)

    return adapt


class Reptile(Algorithm):
    """Holds the `start` [P]; `adapters` learn from it on each task, `update` moves it."""

    name = "Reptile"
    graphs: Graphs

    def __init__(
        self, config: ReptileConfig, env: Env, policy: Policy, generator: Generator, num_iterations: int
    ) -> None:
        self.config, self.policy, self.generator, self.num_iterations = config, policy, generator, num_iterations
        self.start = policy.init(generator)
        self.value = value_network(config, env, generator)
        self.updates, self.averaged = 0, 0
        self.mean, self.graphs = self.start, Graphs()

    @property
    def params(self) -> Tensor:
        return self.start

    @property
    def eval_params(self) -> Tensor:
        """The start that is evaluated [P]."""
        return self.mean if self.averaged else self.start

    @property
    def inner(self) -> InnerLearner:
        def step(scale: float, inner_lr: float | None) -> Adapter:
            config = self.config if inner_lr is None else replace(self.config, inner_lr=inner_lr)
            return learner(self.policy, InnerLoss.of(config, "naive", self.value), config, scale)

        c = self.config
        adapters, memory = partial(self.adapters, test=True), None
        if c.inner_optimizer == "adam":
            memory = Moments.zeros(self.start.unsqueeze(0))
        return InnerLearner(
            self.policy, self.eval_params, adapters, step, c.inner_lr, c.num_inner_steps, self.value, memory
        )

    def adapters(
        self, num_steps: int | None = None, test: bool = False, entropies: list[Tensor] | None = None
    ) -> list[Adapter]:
        """One adapter for each round; in training one fewer than k, since `update` learns from the last round."""
        loss = InnerLoss.of(self.config, "naive", self.value)
        if num_steps is None:
            num_steps = self.config.num_inner_steps - 1
        factors = self.config.test_rates(num_steps) if test else [1.0] * num_steps
        return [learner(self.policy, loss, self.config, factor, entropies) for factor in factors]

    def collect(self, env: Env, task: Struct, num_envs: int, generator: Generator) -> list[Trajectory]:
        """A round of episodes for each of the k inner steps, to train on."""

        def play(params: Tensor, task: Struct) -> list[Trajectory]:
            return collect(env, self.policy, params, task, self.adapters(), num_envs, generator)

        return self.graphs(("collect", num_envs), play, self.start, task, generators=[generator])

    def play(self, env: Env, num_envs: int, generator: Generator, stages: Stages, greedy: bool = False) -> Play:
        adapters = self.adapters(stages.num_steps, test=True)
        return player(env, self.policy, self.eval_params, adapters, num_envs, generator, greedy)

    def update(self, trajectories: list[Trajectory]) -> dict[str, float]:
        """Move the initialization, given what `collect` returned. Returns metrics."""
        c = self.config

        def learn(start: Tensor, trajectories: list[Trajectory]) -> tuple[Tensor, Tensor]:
            """Mean change [P] of the tasks' parameters from `start` [P]; the mean entropy of their policies."""
            params, memory, entropies = start.expand(len(trajectories[0]), -1), None, list[Tensor]()
            adapters = self.adapters(c.num_inner_steps, entropies=entropies)
            for adapt, trajectory in zip(adapters, trajectories, strict=True):
                params, memory = adapt(params, memory, trajectory)
            return all_mean((params - start).mean(0)), all_mean(torch.cat(entropies).mean())

        done = self.updates / max(1, self.num_iterations)  # below 1 in the last one, which would else be lost
        outer_lr = c.outer_lr + (c.outer_lr_end - c.outer_lr) * min(done, 1.0)
        move, entropy = self.graphs("learn", learn, self.start, trajectories)
        self.start = self.start + outer_lr * move
        self.updates += 1
        if self.updates + c.average_last * self.num_iterations > self.num_iterations:
            self.averaged += 1
            self.mean = self.start if self.averaged == 1 else torch.lerp(self.mean, self.start, 1 / self.averaged)
        move_norm, mean_entropy = torch.stack([move.norm(), entropy]).tolist()
        metrics = {"move_norm": move_norm, "outer_lr": outer_lr, "entropy": mean_entropy}
        if self.value is not None:
            metrics["value_explained"] = self.value.fit(trajectories, c.value_epochs, self.generator)
        return metrics

    def state_dict(self) -> dict[str, Any]:
        state = {"params": self.start, "updates": self.updates, "averaged": self.averaged, "mean": self.mean}
        return state if self.value is None else {**state, "value": self.value.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_num_parameters(state["params"], self.start)
        self.start, self.mean = state["params"], state["mean"]
        self.updates, self.averaged = int(state["updates"]), int(state["averaged"])
        if self.value is not None:
            self.value.load_state_dict(state["value"])
