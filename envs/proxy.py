"""Proxy: an environment that wraps another one and changes part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Generator, Tensor

from envs.core import Env, Reference, StateT, StepResult, TaskT


class Proxy(Env[TaskT, StateT]):
    """Forwards everything to `env`; a subclass overrides what it changes."""

    def __init__(self, env: Env[TaskT, StateT]) -> None:
        self.env, self.config, self.device, self.horizon = env, env.config, env.device, env.horizon
        self.task_type, self.task_space, self.splits = env.task_type, env.task_space, env.splits
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.recordable, self.fast, self.mmer_steps = env.recordable, env.fast, env.mmer_steps
        self.oracle = env.oracle

    @property
    def name(self) -> str:
        return self.env.name

    def sample_tasks(self, n: int, generator: Generator, split: str = "train") -> TaskT:
        return self.env.sample_tasks(n, generator, split)

    def reset(self, task: TaskT, num_envs: int, generator: Generator) -> tuple[StateT, Tensor]:
        return self.env.reset(task, num_envs, generator)

    def restart(
        self, lanes: Tensor, task: TaskT, state: StateT, obs: Tensor, generator: Generator
    ) -> tuple[StateT, Tensor]:
        return self.env.restart(lanes, task, state, obs, generator)

    def step(self, task: TaskT, state: StateT, action: Tensor, generator: Generator) -> StepResult[StateT]:
        return self.env.step(task, state, action, generator)

    def render(self, task: TaskT, episode: StateT, earlier: Sequence[StateT] = (), size: int = 480) -> np.ndarray:
        return self.env.render(task, episode, earlier, size)

    def render_beside(
        self, row: Sequence[StateT], task: TaskT, episode: StateT, earlier: Sequence[StateT], size: int
    ) -> np.ndarray:
        return self.env.render_beside(row, task, episode, earlier, size)

    def references(self) -> dict[str, Reference]:
        return self.env.references()

    def scores(self, task: TaskT, states: StateT, action: Tensor, reward: Tensor) -> dict[str, Tensor]:
        return self.env.scores(task, states, action, reward)

    def metrics(self) -> dict[str, float]:
        return self.env.metrics()

    def task_to_dicts(self, task: TaskT) -> list[dict[str, Any]]:
        return self.env.task_to_dicts(task)

    def task_from_dicts(self, dicts: Sequence[Mapping[str, Any]]) -> TaskT:
        return self.env.task_from_dicts(dicts)
