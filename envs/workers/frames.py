"""Pictures of episodes: an environment that draws itself replays them from task, seed and actions."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from PIL import Image

from envs.errors import InputError, require
from envs.workers.worker import Program, said, set_task, take

MOST = 12
"""Environments that are kept: a video draws a few episodes in turn, each a step further."""


@dataclass(eq=False)
class Replay:
    """An environment in an episode, as far as these actions."""

    env: gymnasium.Env
    task: Any
    seed: int
    actions: list[np.ndarray] = field(default_factory=list)

    def leads_to(self, task: Any, seed: int, actions: np.ndarray) -> bool:
        """Is the end of these actions ahead, or here?"""
        done = len(self.actions)
        same = seed == self.seed and repr(task) == repr(self.task) and done <= len(actions)
        return same and (done == 0 or np.array_equal(self.actions, actions[:done]))


class Frames:
    """Draws episodes of a family.

    Args:
        family: has `made(**options)`, an environment in this process.
        program: as of the workers.
    """

    def __init__(self, family: Any, program: Program) -> None:
        self.family, self.program = family, program
        self.replays: list[Replay] = []

    def draw(self, task: Any, seed: int, actions: np.ndarray, size: int) -> np.ndarray | None:
        """The end of an episode as `uint8 [size, size, 3]`; None where the environment has no pictures.

        Raises `InputError` where it raises.
        """
        replay = next((r for r in self.replays if r.leads_to(task, seed, actions)), None)
        try:
            replay = replay or self._begin(task, seed)
            if replay is None:
                return None
            for action in actions[len(replay.actions) :]:
                replay.env.step(take(self.program.action_space, action[None])[0])
                replay.actions.append(action)
            frame: Any = replay.env.render()
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"The environment cannot be drawn: {said(error).removesuffix('.')}.") from error
        right = isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3
        require(right, "render() of an environment in the mode rgb_array must return an array uint8 [H, W, 3].")
        return fitted(frame, size)

    def _begin(self, task: Any, seed: int) -> Replay | None:
        env = drawing(self.family)
        if env is None:
            return None
        (self.program.apply or set_task)(env, task if self.program.tasks is None else self.program.tasks[task])
        env.reset(seed=seed)
        for old in self.replays[MOST - 1 :]:
            old.env.close()
        self.replays = [Replay(env, task, seed), *self.replays[: MOST - 1]]
        return self.replays[0]


def drawing(family: Any) -> gymnasium.Env | None:
    """An environment in the mode rgb_array: made so where `make` takes a render_mode, else set so."""
    takes = "render_mode" in inspect.signature(family.make).parameters
    env = family.made(render_mode="rgb_array") if takes else family.made()
    if env.render_mode is None and "rgb_array" in (env.unwrapped.metadata.get("render_modes") or []):
        env.unwrapped.render_mode = "rgb_array"
    return env if env.render_mode == "rgb_array" else None


def fitted(frame: np.ndarray, size: int) -> np.ndarray:
    """A picture in the middle of a white square."""
    scale = size / max(frame.shape[:2])
    height, width = (max(1, round(scale * x)) for x in frame.shape[:2])
    image = Image.new("RGB", (size, size), "white")
    image.paste(Image.fromarray(frame).resize((width, height)), ((size - width) // 2, (size - height) // 2))
    return np.asarray(image)
