"""Ant with a hidden goal velocity, direction or goal position.

Finn et al. 2017 (MAML), section 5.3: `finn2017`; Rakelly et al. 2019 (PEARL): `pearl`; Zintgraf et al. 2020 (VariBAD):
`varibad`. The model is that of Gymnasium's Ant-v5 but for the friction cone: steps of 0.05 s, in 5 substeps. Contact
forces are those at the start of the last substep, each component clipped to [-1, 1], and not part of the observation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Gt, Le
from gymnasium import spaces
from torch import Generator, Tensor

from envs.core import fresh_splits
from envs.errors import require
from envs.fields import Finite, NonNegativeFloat
from envs.locomotion import goal_velocity
from envs.locomotion.goal_velocity import VelTask
from envs.locomotion.picture import Chart, Mark
from envs.locomotion.robot import Motion, Robot, RobotConfig
from envs.physics.base import PhysicsState
from envs.structs import Struct

HEALTHY = (0.2, 1.0)
"""Heights of the torso, in m, between which an ant is neither overturned nor thrown up."""


@dataclass(frozen=True)
class AntConfig(RobotConfig):
    """Parameters of every Ant family."""

    control_cost: NonNegativeFloat = 0.005
    """Weight of the squared norm of the action, which is subtracted from the reward."""
    contact_cost: NonNegativeFloat = 0.0005
    """Weight of the squared norm of the clipped contact forces, which is subtracted from the reward."""
    survive_bonus: Annotated[float, Finite] = 0.05
    """Bonus in the reward of each step."""


@dataclass(frozen=True)
class AntVelConfig(AntConfig):
    """Parameters of Ant with a hidden goal velocity."""

    max_velocity: Annotated[float, Gt(0), Le(10)] = 3.0
    """Goal velocities are uniform from 0 to this, in m/s."""


@dataclass(frozen=True)
class AntDirConfig(AntConfig):
    """Parameters of Ant with a hidden direction."""

    directions: Literal["two", "any"] = "two"
    """Forward and backward alone, or any angle."""


@dataclass(frozen=True)
class GoalConfig(AntConfig):
    """Parameters of Ant with a hidden goal position."""

    control_cost: NonNegativeFloat = 0.1
    """Weight of the squared norm of the action, which is subtracted from the reward."""
    survive_bonus: Annotated[float, Finite] = 0.0
    """Bonus in the reward of each step."""
    goal_radius: Annotated[float, Gt(0), Le(10)] = 3.0
    """Goals are uniform in a disk of this radius around the start, in m."""


VEL_PRESETS = {"finn2017": AntVelConfig()}
DIR_PRESETS = {
    "finn2017": AntDirConfig(),
    "pearl": AntDirConfig(control_cost=0.5, survive_bonus=1.0, directions="any"),
    "varibad": AntDirConfig(control_cost=0.5, survive_bonus=1.0),
}
GOAL_PRESETS = {"pearl": GoalConfig(), "varibad": GoalConfig()}


@dataclass(frozen=True, eq=False)
class AngleTask(Struct):
    angle: Tensor  # [N] rad, from the x axis towards the y axis


@dataclass(frozen=True, eq=False)
class GoalTask(Struct):
    goal: Tensor  # [N, 2] m


def survival(config: AntConfig, motion: Motion, action: Tensor) -> Tensor:
    """What all rewards share [N, E]: the bonus minus the costs of control and contact."""
    assert motion.contact_force is not None
    contact = motion.contact_force[..., 1:, :].clamp(-1.0, 1.0).square().sum((-1, -2))  # all bodies but the world
    control = action.square().sum(-1)
    return config.survive_bonus - config.control_cost * control - config.contact_cost * contact


def unhealthy(state: PhysicsState) -> Tensor:
    """Is the torso too low or too high? [N, E]"""
    z = state.qpos[..., 2]
    return (z < HEALTHY[0]) | (z > HEALTHY[1])


class AntVel(Robot[VelTask]):
    """Run along x at a velocity known only through the reward: 1 - |v - v*|, bonus and costs."""

    model, frame_skip, hidden, contact_forces = "ant", 5, 2, True
    task_type = VelTask
    config: AntVelConfig

    def __init__(self, config: AntVelConfig, device: torch.device) -> None:
        super().__init__(config, device)
        self.task_space = goal_velocity.task_space()
        self.splits = goal_velocity.splits(config.max_velocity)

    def sample_tasks(self, n: int, generator: Generator, split: str = "train") -> VelTask:
        self.check_split(split)
        return goal_velocity.sample(n, self.config.max_velocity, split, generator)

    def reward(self, task: VelTask, motion: Motion, action: Tensor) -> Tensor:
        miss = (motion.velocity[..., 0] - task.goal_velocity[:, None]).abs()
        return 1.0 - miss + survival(self.config, motion, action)

    def fallen(self, state: PhysicsState) -> Tensor:
        return unhealthy(state)

    def chart(self, task: VelTask, episode: PhysicsState) -> Chart:
        return Chart("velocity (m/s)", self.root_velocity(episode)[:, 0], float(task.goal_velocity))


class AntDir(Robot[AngleTask]):
    """Run in a direction known only through the reward: the velocity along it, bonus and costs.

    PEARL draws any angle; MAML, and VariBAD's published protocol, forward or backward.
    """

    model, frame_skip, hidden, contact_forces = "ant", 5, 2, True
    task_type = AngleTask
    config: AntDirConfig

    def __init__(self, config: AntDirConfig, device: torch.device) -> None:
        super().__init__(config, device)
        self.task_space = spaces.Dict(angle=spaces.Box(-2 * math.pi, 2 * math.pi, (), np.float32))
        if config.directions == "two":
            train = "forward (angle 0) and backward (angle π) in equal numbers, a random one in excess"
            same = f"the same two directions, since there are no others: {train}"
            self.splits = {
                "train": train,
                "validation": same,
                "test": same,
                "ood": "sideways: left (angle π/2) and right (angle 3π/2) in equal numbers",
            }
        else:
            train = "any direction, angles uniform in [0, 2π)"
            self.splits = fresh_splits(train)

    def sample_tasks(self, n: int, generator: Generator, split: str = "train") -> AngleTask:
        self.check_split(split)
        require(n >= 1, f"The number of tasks must be at least 1, not {n}.")
        if self.config.directions == "any":
            return AngleTask(2 * math.pi * torch.rand(n, generator=generator, device=self.device))
        half_turns = self.equal_halves(n, generator) + (0.5 if split == "ood" else 0.0)
        return AngleTask(math.pi * half_turns)

    def reward(self, task: AngleTask, motion: Motion, action: Tensor) -> Tensor:
        direction = torch.stack([task.angle.cos(), task.angle.sin()], -1)
        forward = (motion.velocity * direction[:, None]).sum(-1)
        return forward + survival(self.config, motion, action)

    def fallen(self, state: PhysicsState) -> Tensor:
        return unhealthy(state)

    def chart(self, task: AngleTask, episode: PhysicsState) -> Chart:
        angle = float(task.angle)
        along = self.root_velocity(episode) @ np.array([math.cos(angle), math.sin(angle)])
        return Chart("velocity along it (m/s)", along)

    def marks(self, task: AngleTask) -> list[Mark]:
        return [Mark(angle=float(task.angle))]


class AntGoal(Robot[GoalTask]):
    """Go to a place known only through the reward: -(|x - gx| + |y - gy|), bonus and costs. Never terminates.

    The observation holds the position, without which the goal could not be found again.
    """

    model, frame_skip, hidden, contact_forces = "ant", 5, 0, True
    task_type = GoalTask
    config: GoalConfig

    def __init__(self, config: GoalConfig, device: torch.device) -> None:
        super().__init__(config, device)
        radius = config.goal_radius
        self.task_space = spaces.Dict(goal=spaces.Box(-20.0, 20.0, (2,), np.float32))
        train = f"goals uniform in a disk of radius {radius:g} m around the start"
        self.splits = fresh_splits(train, f"goals uniform in the ring from there to {1.5 * radius:g} m")

    def sample_tasks(self, n: int, generator: Generator, split: str = "train") -> GoalTask:
        self.check_split(split)
        require(n >= 1, f"The number of tasks must be at least 1, not {n}.")
        angle = 2 * math.pi * torch.rand(n, generator=generator, device=self.device)
        part = torch.rand(n, generator=generator, device=self.device)
        # Uniform over an area means that the squared radius is uniform: in [0, 1] or, in the ring, [1, 1.5²].
        radius = self.config.goal_radius * (1 + 1.25 * part if split == "ood" else part).sqrt()
        return GoalTask(radius[:, None] * torch.stack([angle.cos(), angle.sin()], -1))

    def reward(self, task: GoalTask, motion: Motion, action: Tensor) -> Tensor:
        distance = (motion.state.qpos[..., :2] - task.goal[:, None]).abs().sum(-1)
        return survival(self.config, motion, action) - distance

    def chart(self, task: GoalTask, episode: PhysicsState) -> Chart:
        offset = (episode.qpos[:, :2] - task.goal).double().cpu().numpy()
        return Chart("distance to the goal (m)", np.hypot(*offset.T), 0.0)

    def marks(self, task: GoalTask) -> list[Mark]:
        return [Mark(tuple(task.goal.tolist()))]
