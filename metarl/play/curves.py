"""What others earn on the same task: reference policies, and this policy in many trials."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Generator

from metarl.agent.load import Agent
from metarl.evaluation.curve import Played, play_references, play_stages

TRIALS = 64
"""Of a policy with a memory and of each reference."""
REPEATS = 8
"""Of a gradient method, each with as many episodes as it learns from."""


def curves(agent: Agent, task: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """Adaptation curves on one task, with 95 % intervals of the mean by standard errors.

    Returns:
        `references` by name and `policy`, each with `mean`, `low` and `high`: lists with an entry for each stage. Where
        a trial is one episode, each has an entry for each step: the mean reward per step so far.

    Raises:
        InputError: for a task that does not fit.
        NonFiniteError: when the environment returns numbers that are not finite.
    """
    run, env = agent.run, agent.run.env
    algorithm = run.algorithm
    stages = algorithm.stages()
    by_step = stages.trial and len(stages) == 1
    lanes, repeats = (1, TRIALS) if stages.trial else (run.config.num_envs, REPEATS)
    tasks = env.task_from_dicts([task] * TRIALS)
    generator = Generator(run.device).manual_seed(seed)
    references = play_references(env, tasks, 1, generator, stages.episodes)
    play = algorithm.play(env, lanes, generator, stages)
    own = play_stages(env, play, tasks[:repeats], lanes * stages.episodes, group=algorithm.tasks_at_a_time)
    return {
        "policy": _band(own, by_step),
        "references": {name: _band(played, by_step) for name, played in references.items()},
    }


def _band(played: Played, by_step: bool) -> dict[str, list[float]]:
    """Mean and interval over repetitions [M, K, T]: of the return in each stage, or the mean reward so far."""
    rewards = played.rewards.double().numpy()
    values = rewards[:, 0].cumsum(1) / np.arange(1, rewards.shape[2] + 1) if by_step else rewards.sum(2)
    mean = values.mean(0)
    half = 1.96 * values.std(0, ddof=1) / np.sqrt(len(values))
    sides = {"mean": mean, "low": mean - half, "high": mean + half}
    return {name: np.round(x, 4).tolist() for name, x in sides.items()}
