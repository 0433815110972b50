"""MiniGrid (Chevalier-Boisvert et al. 2023; minigrid 3.2.0): each of its environments as a family of layouts.

A task is the seed of a layout: walls, objects, the agent's start and the mission. Every episode on it starts there
again; chance within an episode, such as moving obstacles, follows from the episode's own seed.

What is observed is the agent's view of 7 x 7 cells, as codes of object, color and state. The mission is left out: where
it differs from layout to layout, what is asked for is hidden, and found out by reward.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import minigrid  # noqa: F401  registers the environments
import numpy as np
from gymnasium.spaces import Box

from envs.workers import from_gymnasium
from envs.workers.family import GymnasiumFamily

LARGEST = {"object": 10, "color": 5, "state": 2}
"""Codes of a cell, by channel."""
SEEDS = 1_000_000
"""Of layouts in each split."""


class Layout(gym.Wrapper):
    """The layout of a task in every episode, seen as an image of codes [7, 7, 3]."""

    layout = 0

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        shape: Any = env.observation_space["image"].shape  # type: ignore[index]
        low, high = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8) + np.array([*LARGEST.values()], np.uint8)
        self.observation_space = Box(low, high, shape, np.uint8)  # type: ignore[arg-type]

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        obs, info = self.env.reset(seed=self.layout, options=options)
        self.env.unwrapped.np_random = np.random.default_rng(seed)
        return obs["image"], info

    def step(self, action: Any) -> tuple:
        obs, reward, terminated, truncated, _ = self.env.step(action)
        return obs["image"], reward, terminated, truncated, {"success": float(reward) > 0}


def _ids() -> dict[str, str]:
    """Ids of MiniGrid by name: empty-random-5x5 is MiniGrid-Empty-Random-5x5-v0, of several versions the latest.

    Without the mazes made by wave function collapse, whose patterns the package lacks.
    """
    found = {}
    for id in sorted(id for id in gym.registry if id.startswith("MiniGrid-") and "WFC" not in id):
        name = re.sub("(?<=[a-z])(?=[A-Z])", "-", id.removeprefix("MiniGrid-").rpartition("-v")[0]).lower()
        found[name] = id
    return found


IDS = _ids()


def names() -> list[str]:
    return list(IDS)


def made(id: str) -> Callable[..., gym.Env]:
    """What makes an environment."""

    def make(render_mode: str | None = None) -> gym.Env:
        return Layout(gym.make(f"minigrid:{id}", render_mode=render_mode, disable_env_checker=True).unwrapped)

    return make


def family(name: str) -> GymnasiumFamily:
    """A family by one of `names()`."""
    make = made(IDS[name])
    starts = {"train": 0, "validation": SEEDS, "test": 2 * SEEDS}
    tasks = {split: {"layout": Box(start, start + SEEDS - 1, (), np.int64)} for split, start in starts.items()}
    horizon = make().unwrapped.max_steps  # type: ignore[attr-defined]
    return from_gymnasium(
        make,
        tasks,
        apply=lambda env, task: setattr(env, "layout", task["layout"]),
        horizon=horizon,
        scores={"success": lambda info: info["success"]},
    )
