"""Walker2d and Hopper with hidden bodies: masses, inertias, frictions and dampings that differ from task to task.

Rakelly et al. 2019 (PEARL) on the environments of Rothfuss et al. 2018 (ProMP), here under the name `pearl`. Each
element of a field is multiplied by a factor of its own. The models are those of Gymnasium's Walker2d-v5 and Hopper-v5:
steps of 0.008 s, in 4 substeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Gt, Le
from gymnasium import spaces
from torch import Generator, Tensor

from envs.core import fresh_splits
from envs.errors import require
from envs.fields import Finite, NonNegativeFloat
from envs.locomotion.picture import Chart
from envs.locomotion.robot import Motion, Robot, RobotConfig
from envs.physics.base import PhysicsState
from envs.structs import Struct

BASES = {"body_mass": 1.5, "body_inertia": 1.5, "geom_friction": 1.5, "dof_damping": 1.3}
"""A factor of each field is its base to the power of a random exponent."""


@dataclass(frozen=True)
class ParamsConfig(RobotConfig):
    """Parameters of the families with hidden bodies."""

    control_cost: NonNegativeFloat = 0.001
    """Weight of the squared norm of the action, which is subtracted from the reward."""
    survive_bonus: Annotated[float, Finite] = 1.0
    """Bonus in the reward of each step."""
    max_exponent: Annotated[float, Gt(0), Le(10)] = 3.0
    """Factors are 1.5, for dampings 1.3, to the power of an exponent that is uniform within plus or minus this."""


PRESETS = {"pearl": ParamsConfig()}


@dataclass(frozen=True, eq=False)
class Task(Struct):
    """Factors of the model's fields of these names. Those of the world body do nothing."""

    body_mass: Tensor  # [N, nbody] factors
    body_inertia: Tensor  # [N, nbody, 3] factors
    geom_friction: Tensor  # [N, ngeom, 3] factors: sliding, torsional, rolling
    dof_damping: Tensor  # [N, nv] factors


class Params(Robot[Task]):
    """Run with a body known only through its motion: forward velocity + bonus - control cost. Terminates in a fall.

    A family names its model and defines a fall.
    """

    frame_skip, noise, gaussian = 4, 0.005, False
    task_type = Task
    config: ParamsConfig

    def __init__(self, config: ParamsConfig, device: torch.device) -> None:
        super().__init__(config, device)
        self.shapes = {name: getattr(self.physics.model, name).shape for name in BASES}
        self.task_space = spaces.Dict([(k, spaces.Box(0.01, 100.0, x, np.float32)) for k, x in self.shapes.items()])
        top = config.max_exponent
        train = f"factors 1.5^u (dampings 1.3^u), each u uniform in [{-top:g}, {top:g}]"
        self.splits = fresh_splits(train, f"all factors beyond that, each |u| uniform in [{top:g}, {top + 1:g}]")

    def sample_tasks(self, n: int, generator: Generator, split: str = "train") -> Task:
        self.check_split(split)
        require(n >= 1, f"The number of tasks must be at least 1, not {n}.")
        top, fields = self.config.max_exponent, {}
        for name, base in BASES.items():
            part = 2 * torch.rand(n, *self.shapes[name], generator=generator, device=self.device) - 1
            exponent = part + torch.where(part < 0, -top, top) if split == "ood" else top * part
            fields[name] = base**exponent
        return Task(**fields)

    def scales(self, task: Task) -> Mapping[str, Tensor]:
        return {name: getattr(task, name) for name in BASES}

    def reward(self, task: Task, motion: Motion, action: Tensor) -> Tensor:
        costs = self.config.control_cost * action.square().sum(-1)
        return motion.velocity[..., 0] + self.config.survive_bonus - costs

    def chart(self, task: Task, episode: PhysicsState) -> Chart:
        return Chart("velocity (m/s)", self.root_velocity(episode)[:, 0])


class Walker2dParams(Params):
    """Walks on two legs: the torso must stay between 0.8 and 2 m high, and lean by less than 1 rad."""

    model = "walker2d"

    def fallen(self, state: PhysicsState) -> Tensor:
        z, angle = state.qpos[..., 1], state.qpos[..., 2]
        return ~((z > 0.8) & (z < 2.0) & (angle.abs() < 1.0))


class HopperParams(Params):
    """Hops on one leg: the torso must stay above 0.7 m and lean by less than 0.2 rad, and nothing else exceed 100."""

    model = "hopper"

    def fallen(self, state: PhysicsState) -> Tensor:
        z, angle = state.qpos[..., 1], state.qpos[..., 2]
        others = torch.cat([state.qpos[..., 2:], state.qvel], -1)
        return ~((z > 0.7) & (angle.abs() < 0.2) & (others.abs() < 100.0).all(-1))
