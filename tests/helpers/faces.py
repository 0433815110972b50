"""Environments behind their Gymnasium and Stable-Baselines3 faces."""

from __future__ import annotations

import gymnasium
import numpy as np

import envs
from envs.adapters.gym import TaskEnv, TaskVectorEnv

POINT = "metarl/Point-v0"


NORTH, EAST = {"goal": [0.0, 0.3]}, {"goal": [0.3, 0.0]}


GO_NORTH, GO_EAST = np.array([0, 1], np.float32), np.array([1, 0], np.float32)


def single(family, preset, **options) -> gymnasium.Env:
    return gymnasium.make(envs.FAMILIES[family].gym_id, preset=preset, **options)


def vector(family, preset, num_envs, **options) -> TaskVectorEnv:
    return gymnasium.make_vec(envs.FAMILIES[family].gym_id, num_envs=num_envs, preset=preset, **options)


def some_actions(env: envs.Env, steps: int, lanes: int, seed: int = 0) -> np.ndarray:
    """[steps, lanes, A] within the action space."""
    space = gymnasium.vector.utils.batch_space(env.action_space, lanes)
    space.seed(seed)
    return np.stack([space.sample() for _ in range(steps)])


def running(**options) -> TaskEnv:
    env = TaskEnv("point", **options)
    env.reset(seed=0)
    return env
