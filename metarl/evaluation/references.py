"""What the reference policies of a family earn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

import envs
from envs.contract import draw_tasks
from envs.core import Env
from envs.fields import Checked, PositiveInt
from metarl.evaluation.curve import play_references
from metarl.training.config import Seed


@dataclass(frozen=True)
class ReferencesConfig(Checked):
    """What is played."""

    num_tasks: PositiveInt = 10_000
    """Tasks."""
    num_envs: PositiveInt = 1
    """Trials of each task."""
    num_episodes: PositiveInt = 1
    """Episodes of a trial, over which a reference may remember; the return is that of the whole trial."""
    split: str = "test"
    """train, validation, test or ood."""
    seed: Seed = 0
    """Seed of the tasks and episodes."""


def reference_returns(env: Env, config: ReferencesConfig | None = None) -> dict[str, tuple[float, float]]:
    """Mean return of a trial under each reference policy, and its standard error over tasks (nan for a single task).

    Raises:
        InputError: for an unknown split.
    """
    config = config or ReferencesConfig()
    task = draw_tasks(env, config.num_tasks, envs.task_generator(config.seed, config.split, env.device), config.split)
    generator = Generator(env.device).manual_seed(config.seed)
    out = {}
    for name, played in play_references(env, task, config.num_envs, generator, config.num_episodes).items():
        returns = played.rewards.sum((1, 2))
        error = returns.std() / len(returns) ** 0.5 if len(returns) > 1 else torch.tensor(torch.nan)
        out[name] = (float(returns.mean()), float(error))
    return out
