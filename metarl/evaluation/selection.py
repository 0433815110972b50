"""Selection: the tasks and the stages of adaptation that evaluation and videos play."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import envs
from envs.contract import draw_tasks
from envs.errors import require
from envs.fields import Checked, NonNegativeInt, PositiveInt
from envs.structs import Struct
from metarl.algorithms.base import Stages
from metarl.training.config import Seed
from metarl.training.run import Run


@dataclass(frozen=True)
class Selection(Checked):
    """The tasks to play, and how a policy adapts to them."""

    num_tasks: PositiveInt | None = None
    """Tasks to draw; None for the default."""
    split: str = "test"
    """train, validation (to choose settings by), test (for a table, once they are chosen) or ood (outside the training
    range)."""
    tasks: Path | None = None
    """A file of tasks that metarl envs saved, instead of tasks drawn by split and seed."""
    num_steps: NonNegativeInt | None = None
    """Gradient steps, by default 3. A policy with a memory takes none: it adapts in the episodes of its trial."""
    seed: Seed = 0
    """Seed of the tasks and episodes; the tasks depend on it and the split alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        drawn = self.num_tasks is not None or self.split != "test"
        with_file = self.tasks is not None and drawn
        require(not with_file, "--tasks plays the tasks of a file, so leave --num-tasks and --split out.")

    @property
    def source(self) -> str:
        """The split, or the name of the file of tasks."""
        return self.split if self.tasks is None else str(self.tasks)

    def draw(self, run: Run, default: int) -> Struct:
        """The tasks [N], by default so many. Raises `InputError` for an unknown split, or a file without such tasks."""
        if self.tasks is not None:
            return envs.load_tasks(self.tasks, run.env)
        generator = envs.task_generator(self.seed, self.split, run.device)
        return draw_tasks(run.env, self.num_tasks or default, generator, self.split)

    def stages(self, run: Run) -> Stages:
        """The stages of adaptation. Raises `InputError` where the method has none of this kind."""
        return run.algorithm.stages(self.num_steps)
