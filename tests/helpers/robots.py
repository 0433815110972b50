"""Robots that walk, and Gymnasium's beside them."""

from __future__ import annotations

import gymnasium
import mujoco
import torch
from torch import Generator

from envs.locomotion.robot import Robot
from envs.physics.base import PhysicsState

FAMILIES = [
    "half-cheetah-vel",
    "half-cheetah-dir",
    "ant-vel",
    "ant-dir",
    "ant-goal",
    "walker2d-params",
    "hopper-params",
]
PARAMS = {"walker2d-params": "walker2d", "hopper-params": "hopper"}


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def walk(env: Robot, task, num_envs: int = 2, steps: int = 20, seed: int = 1) -> PhysicsState:
    """The states after so many steps of random actions."""
    draws = generator(seed)
    state, _ = env.reset(task, num_envs, draws)
    for _ in range(steps):
        state = env.step(task, state, env.random_actions(task, state, None, draws), draws).state
    return state


THEIRS = {
    "half_cheetah": ("HalfCheetah-v5", "half_cheetah.xml"),
    "ant": ("Ant-v5", "ant.xml"),
    "walker2d": ("Walker2d-v5", "walker2d_v5.xml"),
    "hopper": ("Hopper-v5", "hopper.xml"),
}


def state_of(data: mujoco.MjData) -> PhysicsState:
    """The state of one lane, copied from MuJoCo's own."""
    return PhysicsState(*(torch.from_numpy(x.copy())[None, None] for x in (data.qpos, data.qvel, data.qacc_warmstart)))


def gym_env(name: str, seed: int = 0, **options) -> gymnasium.Env:
    """Gymnasium's own environment, after a reset."""
    if name != "half_cheetah":
        options["terminate_when_unhealthy"] = False
    env = gymnasium.make(THEIRS[name][0], max_episode_steps=10_000, **options)
    env.reset(seed=seed)
    return env


def actions(model: mujoco.MjModel, steps: int) -> torch.Tensor:
    return torch.rand(steps, 1, 1, model.nu, generator=torch.Generator().manual_seed(5)) * 2 - 1
