"""Probe: a trained run, and the tasks and random numbers that a diagnosis of it uses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces
from scipy.optimize import linear_sum_assignment
from torch import Generator

from envs.contract import draw_tasks
from envs.core import Env, task_generator
from envs.structs import Struct
from metarl.training.run import Run

STEPS = 128_000
"""Environment steps of a stage that the default number of tasks amounts to."""
FEWEST_TASKS, MOST_TASKS = 16, 1000


@dataclass(frozen=True)
class Probe:
    """A run with what decides the numbers of its diagnosis.

    Attributes:
        split, num_tasks, seed: of the tasks that are played.
        num_envs: episodes of a task (or trials), before adaptation and after each step.
        num_steps: gradient steps; a policy with a memory takes none.
    """

    run: Run
    split: str
    num_tasks: int
    num_envs: int
    seed: int
    num_steps: int

    @classmethod
    def of(
        cls, run: Run, split: str = "test", num_tasks: int | None = None, num_envs: int | None = None, seed: int = 0,
        num_steps: int = 3,
    ) -> Probe:  # fmt: skip
        """By default a task has as many episodes as in training, and a stage about `STEPS` environment steps."""
        num_envs = num_envs or run.config.num_envs
        each = num_envs * run.env.horizon * run.algorithm.stages().episodes
        default = min(max(STEPS // each, FEWEST_TASKS), MOST_TASKS, max(run.config.eval_num_tasks, FEWEST_TASKS))
        return cls(run, split, num_tasks or default, num_envs, seed, num_steps)

    @property
    def judges(self) -> int:
        """Episodes that judge given parameters, where no step learns from them: tasks differ more than episodes."""
        return max(min(self.num_envs, 5), self.num_envs // 4)

    @property
    def trained_steps(self) -> int:
        """Gradient steps after which adaptation is judged: as many as training takes, at most `num_steps`."""
        inner = self.run.algorithm.inner
        return self.num_steps if inner is None else min(inner.num_trained_steps, self.num_steps)

    @property
    def smaller_outer_steps(self) -> str:
        """As an option of this run."""
        return self.run.config.algorithm.smaller_steps

    def generator(self, stream: str) -> Generator:
        """Random numbers of their own for each purpose; the same purpose has the same ones again."""
        return task_generator(self.seed, f"diagnosis of {stream}", self.run.device)

    def tasks(self, split: str, count: int | None = None) -> Struct:
        """Those that evaluation draws."""
        generator = task_generator(self.seed, split, self.run.device)
        return draw_tasks(self.run.env, count or self.num_tasks, generator, split)


def task_columns(env: Env, task: Struct) -> dict[str, np.ndarray]:
    """Each field of tasks as numbers [N, D]; a `Discrete` one as a column for each value."""
    columns = {}
    for name, space in env.task_space.items():
        value = getattr(task, name).cpu().numpy().reshape(len(task), -1)
        if isinstance(space, spaces.Discrete):
            value = value == np.arange(space.start, space.start + space.n)
        columns[name] = value.astype(np.float64)
    return columns


def other_tasks(env: Env, task: Struct, seed: int) -> np.ndarray:
    """A random permutation [N] that gives each task another one, and never an equal one where that can be helped."""
    rows = np.concatenate(list(task_columns(env, task).values()), 1)
    _, kind = np.unique(rows, axis=0, return_inverse=True)
    same = kind.reshape(-1, 1) == kind.reshape(1, -1)
    cost = np.random.default_rng(seed).random(same.shape) + len(same) * same
    return linear_sum_assignment(cost)[1]
