"""Gymnasium interfaces of every family: `gymnasium.make(id)` gives a TaskEnv, `gymnasium.make_vec(id)` a TaskVectorEnv.

Both are built on `Lanes` and follow one rule about tasks:

* a task that was given (to `make`, `set_task` or `reset(options={"task": ...})`) is kept until another is given;
* otherwise `reset(seed=s)` draws a task of the train split, which the seed alone determines, and `reset()` keeps it;
* `reset(options={"resample_task": True})` draws a fresh one of the train split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.adapters.checks import check_action, check_options
from envs.adapters.lanes import RENDER_METADATA, Lanes
from envs.errors import require
from envs.registry import make


class TaskEnv(gymnasium.Env):
    """One episode at a time on one task.

    Args:
        family: id of the family; the Gymnasium id fills it in.
        preset: named configuration; default: the family's first.
        task: plain dict, such as `{"goal": [0.3, -0.2]}`; default: drawn by `reset`.
        render_mode: None or `"rgb_array"`.
        device: where the environment computes. Observations and actions are numpy arrays all the same.
        **fields: single fields of the configuration, such as `horizon=50`.

    Attributes:
        lanes: the `Lanes` behind it; `lanes.env` is the batched environment.

    Raises:
        InputError: for an unknown preset or field, an impossible value, or a task that does not fit.
    """

    metadata: ClassVar[dict[str, Any]] = dict(RENDER_METADATA)  # type: ignore[misc]

    def __init__(
        self,
        family: str,
        preset: str | None = None,
        task: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
        device: torch.device | str = "cpu",
        **fields: Any,
    ) -> None:
        require("tasks" not in fields, "A single environment takes task={...}; tasks=[...] is for gymnasium.make_vec.")
        env = make(family, preset, device, **fields)
        self.lanes = Lanes(env, 1, None if task is None else [task], render_mode)
        self.render_mode = render_mode
        self.observation_space, self.action_space = env.observation_space, env.action_space

    @property
    def task(self) -> dict[str, Any] | None:
        """The task as a plain JSON-able dict, as the next `reset()` will have it; None before one is drawn."""
        return self.lanes.tasks[0]

    def set_task(self, task: Mapping[str, Any]) -> None:
        """Set the task from the next `reset` on; the current episode keeps the old one. Raises `InputError`."""
        self.lanes.set_task(0, task)

    def sample_tasks(self, n: int, seed: int | None = None, split: str = "train") -> list[dict[str, Any]]:
        """Draw `n` tasks of a split as plain dicts; the current episode is not affected. Raises `InputError`."""
        return self.lanes.sample_tasks(n, seed, split)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode. Returns (obs [O] float32, {}).

        Args:
            seed: restarts all random streams, and draws a task unless one was given.
            options: `{"task": {...}}` gives a task, `{"resample_task": True}` draws one of the train split.

        Raises:
            InputError: for an unknown option or a task that does not fit.
        """
        task, resample = check_options(options)
        if task is not None:
            self.set_task(task)
        obs = self.lanes.reset(seed, resample)
        super().reset(seed=seed)
        return obs[0], {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take `action` [A] (or a whole number). Returns (obs [O] float32, reward, terminated, truncated, {}).

        `truncated` means that the episode reached the horizon without terminating.

        Raises:
            InputError: for an action of a wrong shape or value, or when no episode is running.
        """
        actions = check_action(self.lanes.env.action_space, action)[None]
        obs, reward, terminated, truncated = self.lanes.step(actions)
        return obs[0], reward.item(), terminated.item(), truncated.item(), {}

    def render(self) -> np.ndarray:  # type: ignore[override]
        """The current episode as a `uint8 [H, W, 3]` image. Raises `InputError` without `render_mode="rgb_array"`."""
        return self.lanes.render(0)


class TaskVectorEnv(VectorEnv):
    """`num_envs` lanes, each on its own task, stepped by one batched call.

    A lane whose episode ends starts the next one in the same step, on the same task; `info["final_obs"]` holds the
    last observation, as in Gymnasium's `SyncVectorEnv` with `AutoresetMode.SAME_STEP`. The task that lane i gets from
    `reset(seed=s)` is that of a `TaskEnv` after `reset(seed=s + i)`, whatever `num_envs` is.

    Args:
        num_envs: N, the number of lanes.
        tasks: plain dicts, one for each lane; default: drawn by `reset`.
        max_episode_steps: replaces the configuration's `horizon` when given.
        family, preset, render_mode, device, **fields: as of `TaskEnv`.

    Raises:
        InputError: as `TaskEnv`, and for a wrong number of tasks.
    """

    metadata: ClassVar[dict[str, Any]] = {**RENDER_METADATA, "autoreset_mode": AutoresetMode.SAME_STEP}  # type: ignore[misc]

    def __init__(
        self,
        family: str,
        num_envs: int = 1,
        preset: str | None = None,
        tasks: Sequence[Mapping[str, Any]] | None = None,
        render_mode: str | None = None,
        device: torch.device | str = "cpu",
        max_episode_steps: int | None = None,
        **fields: Any,
    ) -> None:
        require("task" not in fields, "A vector environment takes tasks=[...], one for each lane, not task={...}.")
        if max_episode_steps is not None:
            fields["horizon"] = max_episode_steps
        env = make(family, preset, device, **fields)
        self.lanes = Lanes(env, num_envs, tasks, render_mode)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.single_observation_space, self.single_action_space = env.observation_space, env.action_space
        self.observation_space = batch_space(env.observation_space, num_envs)
        self.action_space = batch_space(env.action_space, num_envs)

    @property
    def tasks(self) -> list[dict[str, Any] | None]:
        """Each lane's task as a plain dict, as its next episode will have it; None before one is drawn."""
        return self.lanes.tasks

    def set_tasks(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Give each lane a task, from its next episode on (by `reset` or autoreset). Raises `InputError`."""
        self.lanes.set_tasks(tasks)

    def sample_tasks(self, n: int, seed: int | None = None, split: str = "train") -> list[dict[str, Any]]:
        """Draw `n` tasks of a split as plain dicts; the lanes are not touched. Raises `InputError`."""
        return self.lanes.sample_tasks(n, seed, split)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode in every lane. Returns (obs [N, O] float32, {}).

        Args:
            seed: restarts all random streams, and draws the tasks of lanes that were given none.
            options: `{"tasks": [...]}` gives each lane a task, `{"resample_task": True}` draws each a fresh one.

        Raises:
            InputError: for an unknown option or tasks that do not fit.
        """
        tasks, resample = check_options(options, "tasks")
        if tasks is not None:
            self.set_tasks(tasks)
        obs = self.lanes.reset(seed, resample)
        super().reset(seed=seed)
        return obs, {}

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take `actions` [N, A] (or [N] whole numbers).

        Returns:
            obs [N, O] float32 (in lanes that ended: of the next episode), reward [N] float64, terminated [N] bool,
            truncated [N] bool, info. Where a lane ended, `info["final_obs"]` [N] holds its last observation.

        Raises:
            InputError: for actions of a wrong shape or value, or before the first `reset`.
        """
        actions = check_action(self.lanes.env.action_space, actions, self.num_envs)
        obs, reward, terminated, truncated = self.lanes.step(actions)
        info: dict[str, Any] = {}
        ended = terminated | truncated
        for i in np.flatnonzero(ended):
            info = self._add_info(info, {"final_obs": obs[i].copy(), "final_info": {}}, int(i))
        if ended.any():
            obs = self.lanes.begin(ended)
        return obs, reward.astype(np.float64), terminated, truncated, info

    def render(self) -> tuple[np.ndarray, ...]:
        """Each lane's current episode as a `uint8 [H, W, 3]` image. Raises `InputError` without `render_mode`."""
        return tuple(self.lanes.render(i) for i in range(self.num_envs))
