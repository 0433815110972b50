"""HalfCheetah with a hidden goal velocity, or a hidden direction.

Finn et al. 2017 (MAML), section 5.3; Rothfuss et al. 2018 (ProMP); Rakelly et al. 2019 (PEARL); Zintgraf et al. 2020
(VariBAD). The model is that of Gymnasium's HalfCheetah-v5: steps of 0.05 s, in 5 substeps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Gt, Le
from gymnasium import spaces
from torch import Generator, Tensor

from envs.errors import require
from envs.locomotion import goal_velocity
from envs.locomotion.goal_velocity import VelTask
from envs.locomotion.picture import Chart, Mark
from envs.locomotion.robot import Motion, Robot, RobotConfig
from envs.physics.base import PhysicsState
from envs.structs import Struct


@dataclass(frozen=True)
class HalfCheetahVelConfig(RobotConfig):
    """Parameters of HalfCheetah with a hidden goal velocity."""

    max_velocity: Annotated[float, Gt(0), Le(10)] = 2.0
    """Goal velocities are uniform from 0 to this, in m/s."""


VEL_PRESETS = {
    "finn2017": HalfCheetahVelConfig(),
    "promp": HalfCheetahVelConfig(max_velocity=3.0, horizon=100),
    "pearl": HalfCheetahVelConfig(max_velocity=3.0),
    "varibad": HalfCheetahVelConfig(max_velocity=3.0),
}
DIR_PRESETS = {
    "finn2017": RobotConfig(),
    "promp": RobotConfig(horizon=100),
    "pearl": RobotConfig(),
    "varibad": RobotConfig(),
}


@dataclass(frozen=True, eq=False)
class DirTask(Struct):
    direction: Tensor  # [N] 1: along x, -1: against it


class HalfCheetahVel(Robot[VelTask]):
    """Run at a velocity known only through the reward: -|v - v*| - control cost. Never terminates."""

    model, frame_skip = "half_cheetah", 5
    task_type = VelTask
    config: HalfCheetahVelConfig

    def __init__(self, config: HalfCheetahVelConfig, device: torch.device) -> None:
        super().__init__(config, device)
        self.task_space = goal_velocity.task_space()
        self.splits = goal_velocity.splits(config.max_velocity)

    def sample_tasks(self, n: int, generator: Generator, split: str = "train") -> VelTask:
        self.check_split(split)
        return goal_velocity.sample(n, self.config.max_velocity, split, generator)

    def reward(self, task: VelTask, motion: Motion, action: Tensor) -> Tensor:
        miss = (motion.velocity[..., 0] - task.goal_velocity[:, None]).abs()
        return -miss - self.config.control_cost * action.square().sum(-1)

    def chart(self, task: VelTask, episode: PhysicsState) -> Chart:
        return Chart("velocity (m/s)", self.root_velocity(episode)[:, 0], float(task.goal_velocity))


class HalfCheetahDir(Robot[DirTask]):
    """Run forward or backward, whichever the reward favours: d v - control cost. Never terminates."""

    model, frame_skip = "half_cheetah", 5
    task_type = DirTask

    def __init__(self, config: RobotConfig, device: torch.device) -> None:
        super().__init__(config, device)
        self.task_space = spaces.Dict(direction=spaces.Box(-1.0, 1.0, (), np.float32))
        train = "forward (1) and backward (-1) in equal numbers, a random one when the number of tasks is odd"
        same = f"the same two directions, since there are no others: {train}"
        self.splits = {"train": train, "validation": same, "test": same}

    def sample_tasks(self, n: int, generator: Generator, split: str = "train") -> DirTask:
        self.check_split(split)
        require(n >= 1, f"The number of tasks must be at least 1, not {n}.")
        return DirTask(2.0 * self.equal_halves(n, generator) - 1.0)

    def reward(self, task: DirTask, motion: Motion, action: Tensor) -> Tensor:
        forward = task.direction[:, None] * motion.velocity[..., 0]
        return forward - self.config.control_cost * action.square().sum(-1)

    def chart(self, task: DirTask, episode: PhysicsState) -> Chart:
        return Chart("velocity (m/s)", self.root_velocity(episode)[:, 0])

    def marks(self, task: DirTask) -> list[Mark]:
        return [Mark(angle=0.0 if float(task.direction) > 0 else math.pi)]
