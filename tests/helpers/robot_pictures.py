"""Episodes of a robot at given places, and colours in its pictures."""

from __future__ import annotations

import torch

from envs.physics.base import PhysicsState


def episode(env, *shifts: float, bend: float = 0.0) -> PhysicsState:
    """States at these places along x, with the joints of the legs bent."""
    qpos = env.start.repeat(len(shifts), 1)
    qpos[:, 0] += torch.tensor(shifts, dtype=qpos.dtype)
    qpos[:, 3:] += bend
    return PhysicsState(qpos, torch.zeros_like(qpos), torch.zeros_like(qpos))


def task(env, goal: float):
    return env.task_from_dicts([{"goal_velocity": goal}])[0]
