"""Lanes: the running episodes behind every adapter, so that the three interfaces cannot disagree."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from envs.adapters.checks import check_seed
from envs.contract import check_image, check_reset, check_step, draw_tasks, task_dicts
from envs.core import Env, task_generator
from envs.errors import require
from envs.structs import Struct, merged

RENDER_METADATA: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 20}


class Lanes:
    """N episodes side by side, each on its own task (E = 1), in and out as fresh numpy arrays.

    A task assigned to a lane takes effect when the lane's next episode starts; until then the current episode keeps
    the old one. Assigned tasks are kept; a lane without one draws from the train split whenever a seed is given.

    Attributes:
        env: the batched environment.
        t: [N] steps taken in the current episodes.
        ended: [N] bool, lanes that must `begin` before the next step.
    """

    def __init__(
        self, env: Env, num_envs: int, tasks: Sequence[Mapping[str, Any]] | None = None, render_mode: str | None = None
    ) -> None:
        require(isinstance(num_envs, int) and num_envs >= 1, f"num_envs must be at least 1, not {num_envs!r}.")
        require(render_mode in (None, "rgb_array"), f"render_mode must be None or 'rgb_array', not {render_mode!r}.")
        self.env, self.num_envs, self.render_mode = env, num_envs, render_mode
        self.generator = Generator(env.device)  # of the dynamics
        self.task_generators = [Generator(env.device) for _ in range(num_envs)]
        self.seeded, self.stepped = False, False
        self.rows: list[Struct | None] = [None] * num_envs  # each lane's task, assigned or drawn, with leading axis [1]
        self.assigned = np.zeros(num_envs, bool)
        self.batch: Struct | None = None  # the rows joined, until one changes
        self.t, self.ended = np.zeros(num_envs, int), np.ones(num_envs, bool)
        self.task: Struct | None = None  # in force: [N]
        self.state: Struct | None = None  # [N, 1]
        self.obs = torch.empty(0)  # [N, 1, O]
        self.path: list[Struct] = []  # states since the longest current episode began, for rendering
        if tasks is not None:
            self.set_tasks(tasks)

    @property
    def tasks(self) -> list[dict[str, Any] | None]:
        """Each lane's task as a plain dict, as the next episode will have it; None where none was drawn yet."""
        return [None if row is None else task_dicts(self.env, row)[0] for row in self.rows]

    def set_tasks(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Assign a task to every lane. Raises `InputError`."""
        require(isinstance(tasks, (list, tuple)), f"tasks must be a list of dicts, not {tasks!r}.")
        count = self.num_envs
        require(len(tasks) == count, f"There must be one task for each of the {count} lanes, not {len(tasks)} in all.")
        self.assign(self.env.task_from_dicts(tasks))

    def assign(self, task: Struct) -> None:
        """`set_tasks` with the environment's own Struct, [N] for N lanes."""
        self.rows, self.batch = [task[i : i + 1] for i in range(self.num_envs)], task
        self.assigned[:] = True

    def set_task(self, lane: int, task: Mapping[str, Any]) -> None:
        """Assign a task to one lane. Raises `InputError`."""
        self.rows[lane], self.batch = self.env.task_from_dicts([task]), None
        self.assigned[lane] = True

    def sample_tasks(self, n: int, seed: int | None = None, split: str = "train") -> list[dict[str, Any]]:
        """Draw `n` tasks as plain dicts, without touching the lanes. Raises `InputError`."""
        require(isinstance(n, int) and n >= 1, f"The number of tasks must be at least 1, not {n!r}.")
        seed = secrets.randbits(62) if seed is None else check_seed(seed)
        generator = task_generator(seed, split, self.env.device)
        return task_dicts(self.env, draw_tasks(self.env, n, generator, split))

    def reset(self, seed: int | None = None, resample: bool | Sequence[bool] = False) -> np.ndarray:
        """Start an episode in every lane. Returns obs [N, O].

        Args:
            seed: restarts all random streams and draws the tasks of lanes without an assigned one; lane i then has
                the task of a single lane with `seed + i`. The first reset draws a seed when none is given.
            resample: lanes to give a fresh task of the train split, instead of an assigned one too.
        """
        if seed is None and not self.seeded:
            seed = secrets.randbits(62)
        draw = np.broadcast_to(np.asarray(resample, bool), self.num_envs)
        if seed is not None:
            streams = [stream_seeds(check_seed(seed) + i) for i in range(self.num_envs)]
            self.generator.manual_seed(streams[0][1])
            for generator, (task_seed, _) in zip(self.task_generators, streams, strict=True):
                generator.manual_seed(task_seed)
            self.seeded, draw = True, draw | ~self.assigned
        for i in np.flatnonzero(draw):
            self.rows[i], self.batch = draw_tasks(self.env, 1, self.task_generators[i]), None
        self.assigned &= ~draw
        return self.begin(np.ones(self.num_envs, bool))

    def begin(self, lanes: np.ndarray) -> np.ndarray:
        """Start the next episode in `lanes` [N] bool, each on its assigned task. Returns obs [N, O] of all lanes."""
        if self.batch is None:
            rows = [row for row in self.rows if row is not None]
            self.batch = type(rows[0]).cat(rows)
        if lanes.all() or self.state is None or self.task is None:
            self.task = self.batch
            self.state, self.obs = check_reset(self.env, self.env.reset(self.task, 1, self.generator), self.num_envs, 1)
        else:
            starting = torch.as_tensor(lanes, device=self.env.device)
            self.task = merged(starting, self.batch, self.task)
            self.state, self.obs = self.env.restart(
                starting.unsqueeze(1), self.task, self.state, self.obs, self.generator
            )
        self.t[lanes], self.ended[lanes] = 0, False
        if self.render_mode is not None:
            self.path[-1:] = [self.state]
            self.path = self.path[-int(self.t.max()) - 1 :]
        return _numpy(self.obs)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Advance every lane by checked `actions` [N, A] (or [N] when discrete).

        Returns:
            obs [N, O] float32, reward [N] float32, terminated [N] bool and truncated [N] bool, where truncated means
            that the episode reached the horizon without terminating. Lanes where either holds must `begin` next.

        Raises:
            InputError: when an episode ended and was not begun anew.
        """
        require(
            self.state is not None and not np.count_nonzero(self.ended),
            "No episode is running; call reset() before step().",
        )
        action = torch.from_numpy(actions[:, None]).to(self.env.device)
        result = self.env.step(self.task, self.state, action, self.generator)
        if not self.stepped:
            check_step(self.env, result, self.state, self.num_envs, 1)
            self.stepped = True
        self.state, self.obs = result.state, result.obs
        self.t += 1
        if self.render_mode is not None:
            self.path.append(result.state)
        terminated = _numpy(result.terminated)
        truncated = (self.t == self.env.horizon) & ~terminated
        self.ended = terminated | truncated
        return _numpy(self.obs), _numpy(result.reward), terminated, truncated

    def render(self, lane: int) -> np.ndarray:
        """The lane's current episode as a `uint8 [H, W, 3]` image. Raises `InputError` without a render mode."""
        require(self.render_mode is not None, "Make the environment with render_mode='rgb_array' to render it.")
        require(len(self.path) > 0, "There is nothing to render yet; call reset() before render().")
        assert self.task is not None
        states = [state[lane, 0] for state in self.path[-int(self.t[lane]) - 1 :]]
        return check_image(self.env, self.env.render(self.task[lane], type(states[0]).stack(states)))


def _numpy(x: Tensor) -> np.ndarray:
    """[N, 1, ...] -> a numpy array [N, ...] that shares no memory with a state."""
    return x.numpy(force=True)[:, 0].copy()


def stream_seeds(seed: int) -> tuple[int, int]:
    """Seeds of the task stream and of the dynamics stream, so that the two never share random numbers."""
    task, dynamics = np.random.default_rng(seed).integers(2**62, size=2).tolist()
    return task, dynamics
