"""The curve of a learner in the loop of docs/python.md beside that of `metarl evaluate`, on the same held-out tasks.

python experiments/learner_curves.py runs/maml runs/rl2 --num-tasks 50

Prints a row for each run: mean returns in each stage, and their difference with its standard error over tasks. The two
draw different random numbers, so the difference should be two standard errors at most, but for one in twenty. Only PPO
of Stable-Baselines3 differs beyond that where episodes end early: a learner's has fewer steps to learn from.
"""

from __future__ import annotations

import metarl.backend.starting  # before torch, which takes seconds to load

# isort: split
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

import envs
import metarl
from envs.adapters.lanes import Lanes
from envs.contract import task_dicts
from metarl.agent.load import Agent
from metarl.cli.main import run_main
from metarl.cli.session import Session
from metarl.evaluation.evaluate import EvaluationConfig


@dataclass(frozen=True)
class Arguments:
    """The curve of a learner beside that of `metarl evaluate`."""

    run_dirs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Trained runs."""
    num_tasks: int = 50
    """Validation tasks."""
    num_envs: int = 20
    """Lanes of a task: episodes of a stage, or trials."""
    seed: int = 0
    """Of tasks and episodes."""
    session: Session = field(default_factory=Session)


def learned(agent: Agent, task: dict[str, Any], num_envs: int, seed: int) -> np.ndarray:
    """Mean returns [stages] of a learner on a task: the first episode of each lane in each stage."""
    stages = agent.run.algorithm.stages()
    by_steps: dict[str, Any] = {} if stages.trial else {"episodes_per_step": num_envs, "num_steps": stages.num_steps}
    learner = agent.begin(num_envs=num_envs, seed=seed, **by_steps)
    lanes = Lanes(agent.env, num_envs, [task] * num_envs)
    obs, returns = lanes.reset(seed, False), []
    for _ in range(stages.episodes if stages.trial else stages.num_steps + 1):
        total, playing = np.zeros(num_envs), np.ones(num_envs, bool)
        while playing.any():
            obs, reward, terminated, truncated = lanes.step(learner.act(obs))
            total += reward * playing
            playing &= ~(terminated | truncated)
            assert not stages.trial or playing.all() or not playing.any(), "trials whose lanes do not go together"
            if not playing.any():
                truncated = np.ones(num_envs, bool)  # all begin the next stage together
            info, ended = {"final_obs": list(obs)}, terminated | truncated
            obs = lanes.begin(ended) if ended.any() else obs
            learner.observe(obs, reward, terminated, truncated, info)
        returns.append(np.mean(total))
    return np.array(returns)


def main(arguments: list[str]) -> None:
    args = tyro.cli(Arguments, description=str(__doc__), args=arguments, config=(tyro.conf.OmitArgPrefixes,))
    device = args.session.apply()
    print("| run | `metarl evaluate` | `learner` | difference ± standard error |\n|---|---|---|---|")
    for path in args.run_dirs:
        agent = metarl.load(path, device)
        same: Any = {"num_tasks": args.num_tasks, "num_envs": args.num_envs}
        result = metarl.evaluate(agent, EvaluationConfig(split="validation", references=False, seed=args.seed, **same))
        evaluated = np.array(result["per_task"])
        env = agent.run.env
        tasks = env.sample_tasks(args.num_tasks, envs.task_generator(args.seed, "validation", env.device), "validation")
        rows = [learned(agent, task, args.num_envs, args.seed + i) for i, task in enumerate(task_dicts(env, tasks))]
        difference = np.array(rows) - evaluated
        error = difference.std(0, ddof=1) / len(difference) ** 0.5
        curves = (" → ".join(f"{x:.2f}" for x in curve) for curve in (evaluated.mean(0), np.mean(rows, 0)))
        apart = ", ".join(f"{d:+.2f} ± {e:.2f}" for d, e in zip(difference.mean(0), error, strict=True))
        print(f"| `{path.name}` | {' | '.join(curves)} | {apart} |".replace("-0.00", "0.00"), flush=True)


if __name__ == "__main__":
    run_main(main)
