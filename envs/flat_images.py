"""flat_images: an environment whose images arrive as vectors, for libraries that would change their axes or scale."""

from __future__ import annotations

import dataclasses

import numpy as np
from gymnasium import spaces
from torch import Generator, Tensor

from envs.core import Env, StateT, StepResult, TaskT
from envs.kinds import is_image
from envs.proxy import Proxy


def flat_images(env: Env[TaskT, StateT]) -> Env[TaskT, StateT]:
    """The same environment with images as vectors of uint8, [N, E, H W C]; itself where observations are vectors."""
    return _FlatImages(env) if is_image(env.observation_space) else env


class _FlatImages(Proxy[TaskT, StateT]):
    def __init__(self, env: Env[TaskT, StateT]) -> None:
        super().__init__(env)
        space = env.observation_space
        self.observation_space = spaces.Box(space.low.reshape(-1), space.high.reshape(-1), dtype=np.uint8)

    def reset(self, task: TaskT, num_envs: int, generator: Generator) -> tuple[StateT, Tensor]:
        state, obs = self.env.reset(task, num_envs, generator)
        return state, obs.flatten(2)

    def restart(
        self, lanes: Tensor, task: TaskT, state: StateT, obs: Tensor, generator: Generator
    ) -> tuple[StateT, Tensor]:
        images = obs.unflatten(2, self.env.observation_space.shape)
        state, seen = self.env.restart(lanes, task, state, images, generator)
        return state, seen.flatten(2)

    def step(self, task: TaskT, state: StateT, action: Tensor, generator: Generator) -> StepResult[StateT]:
        result = self.env.step(task, state, action, generator)
        return dataclasses.replace(result, obs=result.obs.flatten(2))
