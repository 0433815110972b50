"""Probe: a trained run, and the tasks and random numbers that a diagnosis of it uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge
from gymnasium import spaces
from torch import Generator

from envs.contract import draw_tasks
from envs.core import Env, task_generator
from envs.errors import require
from envs.fields import Checked, PositiveInt
from envs.structs import Struct
from metarl.training.config import Seed
from metarl.training.run import Run

STEPS = 128_000
"""Environment steps of a stage, from which the default number of tasks follows."""
FEWEST_TASKS, MOST_TASKS = 16, 1000


@dataclass(frozen=True)
class DiagnosisConfig(Checked):
    """What is played for a diagnosis."""

    num_tasks: Annotated[int, Ge(8)] | None = None  # an interval over fewer says nothing
    """Tasks to play; by default about 128,000 environment steps' worth for each stage."""
    num_envs: PositiveInt | None = None
    """Episodes per task and step; by default as many as in training, on which the noise of inner gradients depends."""
    num_steps: PositiveInt | None = None
    """Gradient steps to play; by default 3, or as many as training takes if that is more."""
    split: str = "validation"
    """The tasks that most findings are about: train, validation, test or ood. The default leaves the test tasks alone,
    since findings lead to other settings."""
    seed: Seed = 0
    """Seed of the tasks and episodes."""


@dataclass(frozen=True)
class Probe:
    """A run and everything that decides the numbers of its diagnosis.

    Attributes:
        split, num_tasks, seed: of the tasks that are played.
        num_envs: episodes (or trials) of a task, before adaptation and after each step.
        num_steps: gradient steps; a policy with a memory takes none.
    """

    run: Run
    split: str
    num_tasks: int
    num_envs: int
    seed: int
    num_steps: int

    @classmethod
    def of(cls, run: Run, config: DiagnosisConfig) -> Probe:
        """Raises `InputError` for an unknown split, or for gradient steps of a policy with a memory."""
        run.env.check_split(config.split)
        algorithm, stages = run.algorithm, run.algorithm.stages()
        require(
            not stages.trial or config.num_steps is None,
            f"{run.path} holds a policy with a memory, which takes no gradient steps; leave --num-steps out.",
        )
        trained = algorithm.inner.num_trained_steps if algorithm.inner else 1
        num_steps = 0 if stages.trial else config.num_steps or max(3, trained)
        num_envs = config.num_envs or run.config.num_envs
        default = STEPS // (num_envs * run.env.horizon * stages.episodes)
        default = min(max(default, FEWEST_TASKS), MOST_TASKS, max(run.config.eval_num_tasks, FEWEST_TASKS))
        return cls(run, config.split, config.num_tasks or default, num_envs, config.seed, num_steps)

    @property
    def judges(self) -> int:
        """Episodes that judge given parameters, when no step learns from them; tasks differ more than episodes do."""
        return max(min(self.num_envs, 5), self.num_envs // 4)

    @property
    def free_episodes(self) -> int:
        """First episodes of a trial that the objective leaves out."""
        return getattr(self.run.config.algorithm, "free_episodes", 0)

    @property
    def trained_steps(self) -> int:
        """Gradient steps after which adaptation is judged: as many as training takes, but at most `num_steps`."""
        inner = self.run.algorithm.inner
        return self.num_steps if inner is None else min(inner.num_trained_steps, self.num_steps)

    @property
    def smaller_outer_steps(self) -> str:
        """As an option of this run."""
        return self.run.config.algorithm.smaller_steps

    def generator(self, stream: str) -> Generator:
        """A separate stream of random numbers for each purpose, the same at each call."""
        return task_generator(self.seed, f"diagnosis of {stream}", self.run.device)

    def tasks(self, split: str, count: int | None = None) -> Struct:
        """The tasks that evaluation draws."""
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
    """A random permutation [N] that gives each task another one, and an equal one only where that cannot be avoided."""
    from scipy.optimize import linear_sum_assignment  # scipy takes half a second to load

    rows = np.concatenate(list(task_columns(env, task).values()), 1)
    _, kind = np.unique(rows, axis=0, return_inverse=True)
    same = kind.reshape(-1, 1) == kind.reshape(1, -1)
    cost = np.random.default_rng(seed).random(same.shape) + len(same) * same
    return linear_sum_assignment(cost)[1]
