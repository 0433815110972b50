"""informed: an environment whose observation includes the task, for oracles that need not infer it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from envs.contract import check_reset, check_step
from envs.core import Env, StateT, StepResult, TaskT
from envs.errors import require
from envs.kinds import in_words
from envs.proxy import Proxy


def informed(env: Env[TaskT, StateT]) -> Env[TaskT, StateT]:
    """The same environment with the task's numbers appended to its observation: obs [N, E, O + F].

    The F numbers are the task's fields in the order of `env.task_space`, flattened: those of a Box or MultiBinary as
    they are, those of a Discrete or MultiDiscrete one-hot. All else is that of `env`.

    Raises:
        InputError: for observations that are not vectors, and for task fields of other spaces.
    """
    return _Informed(env)


class _Informed(Proxy[TaskT, StateT]):
    def __init__(self, env: Env[TaskT, StateT]) -> None:
        super().__init__(env)
        space: Any = env.observation_space
        vector = isinstance(space, spaces.Box) and len(space.shape) == 1
        require(vector, f"The task can only be appended to a vector observation, not to {in_words(space)}.")
        known = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
        for name, field in env.task_space.items():
            require(isinstance(field, known), f"The task field {name!r} cannot be turned into numbers: it is {field}.")
        told: Any = spaces.flatten_space(env.task_space)
        self.told = len(told.low)  # numbers
        low, high = (np.concatenate(pair) for pair in ((space.low, told.low), (space.high, told.high)))
        self.observation_space = spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)

    def reset(self, task: TaskT, num_envs: int, generator: Generator) -> tuple[StateT, Tensor]:
        state, obs = check_reset(self.env, self.env.reset(task, num_envs, generator), len(task), num_envs)
        return state, self._tell(task, obs)

    def restart(
        self, lanes: Tensor, task: TaskT, state: StateT, obs: Tensor, generator: Generator
    ) -> tuple[StateT, Tensor]:
        state, seen = self.env.restart(lanes, task, state, obs[..., : -self.told], generator)
        return state, self._tell(task, seen)

    def step(self, task: TaskT, state: StateT, action: Tensor, generator: Generator) -> StepResult[StateT]:
        result = self.env.step(task, state, action, generator)
        check_step(self.env, result, state, *action.shape[:2])
        return dataclasses.replace(result, obs=self._tell(task, result.obs))

    def _tell(self, task: TaskT, obs: Tensor) -> Tensor:
        columns = [_numbers(space, getattr(task, name)) for name, space in self.task_space.items()]
        told = torch.cat(columns, 1).to(obs.dtype).unsqueeze(1)  # [N, 1, F]
        return torch.cat([obs, told.expand(*obs.shape[:2], -1)], -1)


def _numbers(space: spaces.Space, value: Tensor) -> Tensor:
    """A task's field [N, ...] as [N, numbers]."""
    flat = value.reshape(len(value), -1)
    if isinstance(space, spaces.Discrete):
        return one_hot(flat[:, 0] - int(space.start), int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        ranges = zip(flat.unbind(1), space.start.ravel().tolist(), space.nvec.ravel().tolist(), strict=True)
        return torch.cat([one_hot(column - start, count) for column, start, count in ranges], 1)
    return flat
