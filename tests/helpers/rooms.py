"""A family of many rooms, of which observations are the number: the task says which action pays in odd ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from gymnasium import spaces
from signs import Task
from torch import Generator, Tensor

import envs
from envs.core import Env, StepResult
from envs.fields import Checked, PositiveInt


@dataclass(frozen=True)
class RoomsConfig(Checked):
    horizon: PositiveInt = 4
    """Steps in an episode."""
    num_rooms: PositiveInt = 10_000
    """Rooms."""


@dataclass(frozen=True, eq=False)
class State(envs.Struct):
    room: Tensor  # [N, E] int64


class Rooms(Env[Task, State]):
    def __init__(self, config: RoomsConfig, device: torch.device) -> None:
        super().__init__(config, device)
        self.task_type, self.task_space = Task, spaces.Dict(shift=spaces.Discrete(2))
        self.observation_space = spaces.MultiDiscrete([config.num_rooms, 2])
        self.action_space = spaces.Discrete(2)

    def reset(self, task: Task, num_envs: int, generator: Generator) -> tuple[State, Tensor]:
        return self.shown(len(task), num_envs, generator)

    def shown(self, n: int, num_envs: int, generator: Generator) -> tuple[State, Tensor]:
        room = torch.randint(self.config.num_rooms, (n, num_envs), generator=generator, device=self.device)
        return State(room), torch.stack([room, room % 2], -1)

    def step(self, task: Task, state: State, action: Tensor, generator: Generator) -> StepResult[State]:
        reward = (action == (state.room + task.shift.unsqueeze(1)) % 2).float()
        return StepResult(*self.shown(*action.shape, generator), reward, torch.zeros_like(reward, dtype=torch.bool))
