"""What the reference policies of a family earn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

import envs
from envs.contract import draw_tasks
from envs.core import Env
from metarl.evaluation.curve import reference_rewards
from metarl.evaluation.selection import check_counts, check_seed


@dataclass(frozen=True)
class ReferencesConfig:
    """What is played."""

    num_tasks: int = 10_000
    """Tasks."""
    num_envs: int = 1
    """Trials of each task."""
    num_episodes: int = 1
    """Episodes of a trial, over which a reference may remember; the return is that of the whole trial."""
    split: str = "test"
    """train, test or ood."""
    seed: int = 0
    """Seed of the tasks and episodes."""

    def check(self) -> None:
        """Raise `InputError` unless the fields make sense, whatever the family."""
        check_counts(num_tasks=self.num_tasks, num_envs=self.num_envs, num_episodes=self.num_episodes)
        check_seed(self.seed)


def reference_returns(env: Env, config: ReferencesConfig | None = None) -> dict[str, tuple[float, float]]:
    """Mean return of a trial under each reference policy, and its standard error over tasks (nan for a single task).

    Raises:
        InputError: for a field of `config` that makes no sense, or an unknown split.
    """
    config = config or ReferencesConfig()
    config.check()
    task = draw_tasks(env, config.num_tasks, envs.task_generator(config.seed, config.split, env.device), config.split)
    generator = Generator(env.device).manual_seed(config.seed)
    out = {}
    for name, rewards in reference_rewards(env, task, config.num_envs, generator, config.num_episodes).items():
        returns = rewards.sum((1, 2))
        error = returns.std() / len(returns) ** 0.5 if len(returns) > 1 else torch.tensor(torch.nan)
        out[name] = (float(returns.mean()), float(error))
    return out
