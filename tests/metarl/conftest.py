"""A small meta-RL problem in float64, where derivatives can be checked tightly; run folders with made-up scores."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from torch import Generator

import envs
from metarl.algorithms.base import Stages
from metarl.algorithms.maml import MAML, MAMLConfig
from metarl.algorithms.outer import Adam, AdamConfig
from metarl.evaluation.curve import summarize
from metarl.learning.rollout import collect
from metarl.policies.mlp import MLPConfig, make_policy


def build(seed: int = 0, activation: str = "tanh", num_tasks: int = 3, **config) -> SimpleNamespace:
    """Trajectories of K + 1 rounds on Point, some of whose episodes terminate early, and the MAML that made them."""
    env = envs.make("point", horizon=6, goal_tolerance=0.15)
    generator = Generator().manual_seed(seed)
    policy = make_policy(env.observation_space, env.action_space, MLPConfig((5, 4), activation))
    algorithm = MAML(
        MAMLConfig(**{"inner_lr": 0.3, "gamma": 0.97, "gae_lambda": 0.9, **config}), env, policy, generator
    )
    task = env.sample_tasks(num_tasks, generator)
    trajectories = collect(env, policy, algorithm.params, task, algorithm.adapters(), 4, generator)
    assert any((t.mask == 0).any() for t in trajectories), "the problem should contain terminated episodes"
    trajectories = [t.map(lambda x: x.double() if x.is_floating_point() else x) for t in trajectories]
    algorithm.meta = algorithm.meta.double()
    if isinstance(algorithm.config.outer, AdamConfig):
        algorithm.outer = Adam(algorithm.config.outer, algorithm.meta)
    return SimpleNamespace(env=env, policy=policy, algorithm=algorithm, trajectories=trajectories, generator=generator)


@pytest.fixture
def build_problem():
    return build


@pytest.fixture
def write_run(tmp_path):
    """`write_run(preset, seed, scores [T, K + 1], evaluation fields)` makes a run folder as the scripts do; its path.

    With `num_episodes` the first of the scores are those of a trial.
    """

    def run(
        preset="maml-point",
        seed=0,
        scores=((0.0, 1.0), (2.0, 3.0)),
        horizon=5,
        inner_lr=0.1,
        name=None,
        env="point",
        num_episodes=None,
        references=None,
        **fields,
    ):
        scores = np.array(scores)
        path = tmp_path / (name or f"{preset}-{seed}")
        path.mkdir()
        train = {"env": env, "env_preset": "finn2017", "seed": seed, "num_iterations": 3}
        train["algorithm"] = {"kind": "X", "inner_lr": inner_lr}
        config = {"preset": preset, "env": {"config": {"horizon": horizon}}, "train": train}
        (path / "config.json").write_text(json.dumps(config))
        stages = None if num_episodes is None else Stages(num_episodes=num_episodes)
        random = (
            np.array([-5.0, -3.0])[:, None, None] + np.arange(num_episodes or 1)[:, None]
        )  # learns 1 in each episode
        played = references or {"random": random}
        evaluation = {
            "split": "test",
            "num_tasks": len(scores),
            "num_envs": 4,
            "seed": 0,
            "iteration": 3,
            "env_steps": 600,
            "train_seconds": 2.0 + seed,
            **summarize(scores[..., None], played, stages),
            **fields,
        }
        (path / "evaluation-test.json").write_text(json.dumps(evaluation))
        return path

    return run
