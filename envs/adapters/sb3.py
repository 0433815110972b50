"""Stable-Baselines3 interface of every family: a VecEnv directly over the batched environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from envs.adapters.checks import check_action, check_options
from envs.adapters.lanes import RENDER_METADATA, Lanes
from envs.core import Env
from envs.registry import make

try:
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as error:
    raise ImportError("Stable-Baselines3 is missing here; install metarl-toolkit[sb3].") from error


class _Lane:
    """One lane as `get_attr`, `set_attr` and `env_method` see it."""

    def __init__(self, lanes: Lanes, index: int) -> None:
        self._lanes, self._index = lanes, index
        self.render_mode = lanes.render_mode

    @property
    def task(self) -> dict[str, Any] | None:
        return self._lanes.tasks[self._index]

    def set_task(self, task: Mapping[str, Any]) -> None:
        self._lanes.set_task(self._index, task)

    def sample_tasks(self, n: int, seed: int | None = None, split: str = "train") -> list[dict[str, Any]]:
        return self._lanes.sample_tasks(n, seed, split)


class TaskVecEnv(VecEnv):
    """`num_envs` lanes of a batched environment, each on its own task, for Stable-Baselines3.

    A lane whose episode ends starts the next one in the same step, on the same task; its info holds
    `terminal_observation` and `TimeLimit.truncated`. Tasks follow the rule of `envs.adapters.gym`: one that was given
    is kept; otherwise the first `reset()` after `seed(s)` draws one of the train split for each lane.

    `env_method("set_task", task, indices=i)` gives lane i a task from its next episode on, `get_attr("task")` returns
    the tasks, and `env_method("sample_tasks", n, seed=..., split=..., indices=0)[0]` draws some.

    Args:
        env: from `envs.make`.
        num_envs: N, the number of lanes.
        tasks: plain dicts, one for each lane; default: drawn by `reset`.
        seed: as if `seed(seed)` were called; default: fresh randomness.
        render_mode: None or `"rgb_array"`.

    Raises:
        InputError: for a wrong number of tasks or a task that does not fit.
    """

    def __init__(
        self,
        env: Env,
        num_envs: int,
        tasks: Sequence[Mapping[str, Any]] | None = None,
        seed: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.lanes = Lanes(env, num_envs, tasks, render_mode)
        super().__init__(num_envs, env.observation_space, env.action_space)
        self.metadata = dict(RENDER_METADATA)
        self._actions = np.empty(0)
        if seed is not None:
            self.seed(seed)

    def reset(self) -> np.ndarray:
        """Start an episode in every lane. Returns obs [N, O] float32. Raises `InputError` for bad options."""
        options = [check_options(lane) for lane in self._options]
        for i, (task, _) in enumerate(options):
            if task is not None:
                self.lanes.set_task(i, task)
        obs = self.lanes.reset(self._seeds[0], [resample for _, resample in options])
        self._reset_seeds()
        self._reset_options()
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        """Check `actions` [N, A] (or [N] whole numbers) and keep them for `step_wait`. Raises `InputError`."""
        self._actions = check_action(self.lanes.env.action_space, actions, self.num_envs)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict]]:
        """Returns obs [N, O] (in lanes that ended: of the next episode), reward [N], both float32, done [N], infos."""
        obs, reward, terminated, truncated = self.lanes.step(self._actions)
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": bool(x)} for x in truncated]
        done = terminated | truncated
        for i in np.flatnonzero(done):
            infos[i]["terminal_observation"] = obs[i].copy()
        if done.any():
            obs = self.lanes.begin(done)
        return obs, reward, done, infos

    def get_images(self) -> list[np.ndarray]:
        """Each lane's current episode as a `uint8 [H, W, 3]` image."""
        return [self.lanes.render(i) for i in range(self.num_envs)]

    def close(self) -> None:
        """Nothing to release."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """`"task"` or `"render_mode"` of the lanes."""
        return [getattr(lane, attr_name) for lane in self._select(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Lanes share one environment and have nothing to set: raises AttributeError; use `env_method("set_task")`."""
        raise AttributeError(f"{attr_name!r} cannot be set; a lane's task is given by env_method('set_task', task).")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """`"set_task"` or `"sample_tasks"` of the lanes."""
        return [getattr(lane, method_name)(*method_args, **method_kwargs) for lane in self._select(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Lanes have no wrappers."""
        return [False for _ in self._select(indices)]

    def _select(self, indices: Any) -> list[_Lane]:
        return [_Lane(self.lanes, range(self.num_envs)[i]) for i in self._get_indices(indices)]


def make_sb3(
    id: str,
    num_envs: int,
    preset: str | None = None,
    tasks: Sequence[Mapping[str, Any]] | None = None,
    seed: int | None = None,
    render_mode: str | None = None,
    device: torch.device | str = "cpu",
    **fields: Any,
) -> TaskVecEnv:
    """Build a family's `TaskVecEnv`; the arguments are those of `envs.make` and `TaskVecEnv`. Raises `InputError`."""
    return TaskVecEnv(make(id, preset, device, **fields), num_envs, tasks, seed, render_mode)
