"""Meta-World's environments in a worker process: one lane, which takes the tasks of several of them.

Imports neither torch nor the rest of this package, since workers have no use for them.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import gymnasium
import numpy as np

METAWORLD, MUJOCO = "3.1.1", "4.0."
"""The version that is known, and how that of MuJoCo starts."""
CAMERA = "corner2"
"""Sees the whole table, and hangs upside down."""


def load() -> Any:
    """The package metaworld, made to fit our MuJoCo: the only place that changes it.

    metaworld 3.1.1 pins mujoco 3.3.0. One assignment does not fit later ones, which keep 12 numbers for a constraint
    where 3.3.0 keeps 11; the last is not one that a weld uses.

    Raises:
        ImportError: without the package, or for a version of either that nobody has tried.
    """
    import metaworld
    from metaworld.sawyer_xyz_env import SawyerMocapBase

    found = version("metaworld"), version("mujoco")
    if found[0] != METAWORLD or not found[1].startswith(MUJOCO):
        raise ImportError(
            f"Meta-World runs here as metaworld {METAWORLD} on mujoco {MUJOCO}*, and metaworld {found[0]} and mujoco "
            f"{found[1]} are installed."
        )
    SawyerMocapBase.reset_mocap_welds = reset_mocap_welds  # type: ignore[method-assign]
    return metaworld


def reset_mocap_welds(self: Any) -> None:
    """As `SawyerMocapBase.reset_mocap_welds`, into the first 11 numbers of each weld."""
    import mujoco

    welds = self.model.eq_type == mujoco.mjtEq.mjEQ_WELD
    self.model.eq_data[welds, :11] = [0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 5]


class Sawyer(gymnasium.Env):
    """The environment of the task in force, one of `names`, with the goal hidden.

    A task is `{"rand_vec": numbers}`, Meta-World's name for where things start and the goal is, and with several names
    `{"kind": index of the name, "rand_vec": numbers, zeros at the end where there are too many}`. What follows is
    determined by the task and the actions. `info["success"]` is 1 from the first step with success on.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 80}  # noqa: RUF012  as Gymnasium declares it

    def __init__(self, names: Sequence[str], render_mode: str | None = None) -> None:
        self.names, self.render_mode = names, render_mode
        self.classes = load().env_dict.ALL_V3_ENVIRONMENTS
        self.open(0)
        self.observation_space, self.action_space = self.env.observation_space, self.env.action_space

    def open(self, kind: int) -> None:
        """Make the environment of that kind, in place of the one before, since each takes some 25 MB."""
        options = {"render_mode": self.render_mode, "camera_name": CAMERA} if self.render_mode else {}
        self.kind, self.env = kind, self.classes[self.names[kind]](**options)
        if self.render_mode:  # four times as many pictures a second
            self.env.model.vis.quality.shadowsize, self.env.model.vis.quality.offsamples = 1024, 0
        self.draws, draw = 0, self.env._get_state_rand_vec

        def draw_at_most() -> np.ndarray:
            self.draws += 1  # where start and goal are too near, it draws again, and a task has only one to give
            if self.draws > 10:
                raise ValueError(f"{self.names[self.kind]} cannot start from this rand_vec")
            return draw()

        self.env._get_state_rand_vec = draw_at_most

    def set_task(self, task: Mapping[str, Any]) -> None:
        kind = int(task.get("kind", 0))
        if kind != self.kind:
            self.env.close()
            self.open(kind)
        own = type(self.env)
        rand_vec = np.asarray(task["rand_vec"], np.float64)[: self.env._random_reset_space.low.size]
        data = {"rand_vec": rand_vec, "env_cls": own, "partially_observable": True}
        self.env.set_task(load().Task(self.names[kind], pickle.dumps(data)))

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        self.draws, self.success = 0, 0.0
        return self.env.reset(seed=seed)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.success = max(self.success, float(info["success"]))
        return obs, float(reward), terminated, truncated, {**info, "success": self.success}

    def render(self) -> np.ndarray:
        return np.rot90(self.env.render(), 2)

    def close(self) -> None:
        self.env.close()


def maker(names: Sequence[str]) -> Callable[..., Sawyer]:
    """What makes a lane of these names."""

    def make(render_mode: str | None = None) -> Sawyer:
        if render_mode:  # in the process that draws, which has this package
            from envs.locomotion.headless import make_current

            make_current()
        return Sawyer(names, render_mode)

    return make


def success(info: dict[str, Any]) -> float:
    return info["success"]
