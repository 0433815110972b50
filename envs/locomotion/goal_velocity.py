"""The hidden goal velocity that HalfCheetahVel and AntVel share: the task, its distribution and its splits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor

from envs.core import fresh_splits
from envs.errors import require
from envs.structs import Struct


@dataclass(frozen=True, eq=False)
class VelTask(Struct):
    goal_velocity: Tensor  # [N] m/s


def task_space() -> spaces.Dict:
    """Schema of a task, well beyond every distribution here."""
    return spaces.Dict(goal_velocity=spaces.Box(-20.0, 20.0, (), np.float32))


def splits(top: float) -> dict[str, str]:
    """What each split holds, for goal velocities from 0 to `top` m/s."""
    ood = f"faster goals, uniform in [{top:g}, {1.5 * top:g}] m/s"
    return fresh_splits(f"goal velocities uniform in [0, {top:g}] m/s", ood)


def sample(n: int, top: float, split: str, generator: Generator) -> VelTask:
    """`n` tasks of a split, on the generator's device. Raises `InputError` when `n` is below 1."""
    require(n >= 1, f"The number of tasks must be at least 1, not {n}.")
    part = torch.rand(n, generator=generator, device=generator.device)
    return VelTask(top * (1 + 0.5 * part if split == "ood" else part))
