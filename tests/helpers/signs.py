"""A tiny family of images with several numbers in an action: the task says which columns pay for which sign shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor

import envs
from envs.core import Env, Reference, StepResult
from envs.fields import Checked, PositiveInt


@dataclass(frozen=True)
class SignsConfig(Checked):
    horizon: PositiveInt = 4
    """Steps in an episode."""
    size: PositiveInt = 7
    """Pixels in a row and in a column of an image."""


@dataclass(frozen=True, eq=False)
class Task(envs.Struct):
    shift: Tensor  # [N] int64


@dataclass(frozen=True, eq=False)
class State(envs.Struct):
    sign: Tensor  # [N, E] int64: the row that is bright


class Signs(Env[Task, State]):
    """Sign s is a bright row. The action (a, b) earns 1/2 for a = (s + shift) mod 3 and 1/2 for b = s mod 2."""

    oracle = "told the shift"

    def __init__(self, config: SignsConfig, device: torch.device) -> None:
        super().__init__(config, device)
        self.task_type, self.task_space = Task, spaces.Dict(shift=spaces.Discrete(3))
        self.observation_space = spaces.Box(0, 10, (config.size, config.size, 3), np.uint8)
        self.action_space = spaces.MultiDiscrete([3, 2])

    def reset(self, task: Task, num_envs: int, generator: Generator) -> tuple[State, Tensor]:
        return self.shown(torch.randint(3, (len(task), num_envs), generator=generator, device=self.device))

    def shown(self, sign: Tensor) -> tuple[State, Tensor]:
        size = self.config.size
        rows = torch.arange(size, device=self.device) == 2 * sign.unsqueeze(-1)
        return State(sign), (10 * rows.byte()).view(*sign.shape, size, 1, 1).expand(*sign.shape, size, size, 3)

    def step(self, task: Task, state: State, action: Tensor, generator: Generator) -> StepResult[State]:
        right = action[..., 0] == (state.sign + task.shift.unsqueeze(1)) % 3, action[..., 1] == state.sign % 2
        reward = sum(x.float() for x in right) / 2
        sign = torch.randint(3, state.sign.shape, generator=generator, device=self.device)
        return StepResult(*self.shown(sign), reward, torch.zeros_like(reward, dtype=torch.bool))

    def told(self, task: Task, state: State, memory: None, generator: Generator) -> Tensor:
        return torch.stack([(state.sign + task.shift.unsqueeze(1)) % 3, state.sign % 2], -1)

    def references(self) -> dict[str, Reference]:
        return {**super().references(), "told the shift": Reference(self.told)}


PRESETS = {"small": SignsConfig(), "large": SignsConfig(size=36)}
