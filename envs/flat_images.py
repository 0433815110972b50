"""flat_images: an environment whose images arrive as vectors, for libraries that would change their axes or scale.

Categories, which such libraries would make one-hots of, become numbers.
"""

from __future__ import annotations

import dataclasses

from gymnasium import spaces
from torch import Generator, Tensor

from envs.core import Env, StateT, StepResult, TaskT
from envs.kinds import is_categorical, is_image
from envs.proxy import Proxy


def flat_images(env: Env[TaskT, StateT]) -> Env[TaskT, StateT]:
    """The same environment with images as vectors of uint8, [N, E, H W C], and categories as a Box of int64 [N, E, D].

    It is the environment itself where observations are vectors.
    """
    space = env.observation_space
    return _FlatImages(env) if is_image(space) or is_categorical(space) else env


class _FlatImages(Proxy[TaskT, StateT]):
    def __init__(self, env: Env[TaskT, StateT]) -> None:
        super().__init__(env)
        space = env.observation_space
        low, high = (space.low, space.high) if isinstance(space, spaces.Box) else (space.nvec * 0, space.nvec - 1)
        self.observation_space = spaces.Box(low.reshape(-1), high.reshape(-1), dtype=space.dtype.type)

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
