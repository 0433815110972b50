"""A small meta-RL problem in float64, where derivatives can be checked tightly."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch import Generator

import envs
from metarl.maml import MAML, MAMLConfig
from metarl.outer import Adam, AdamConfig
from metarl.policy import MLPConfig, make_policy
from metarl.rollout import collect


def build(seed: int = 0, activation: str = "tanh", **config) -> SimpleNamespace:
    """Trajectories of K + 1 rounds on Point, some of whose episodes terminate early, and the MAML that made them."""
    env = envs.make("point", horizon=6, goal_tolerance=0.15)
    generator = Generator().manual_seed(seed)
    policy = make_policy(env.observation_space, env.action_space, MLPConfig((5, 4), activation))
    algorithm = MAML(
        MAMLConfig(**{"inner_lr": 0.3, "gamma": 0.97, "gae_lambda": 0.9, **config}), env, policy, generator
    )
    task = env.sample_tasks(3, generator)
    trajectories = collect(env, policy, algorithm.params, task, algorithm.adapters(), 4, generator)
    assert any((t.mask == 0).any() for t in trajectories), "the problem should contain terminated episodes"
    trajectories = [t.map(lambda x: x.double() if x.is_floating_point() else x) for t in trajectories]
    algorithm.meta = algorithm.meta.double()
    if isinstance(algorithm.config.outer, AdamConfig):
        algorithm.optimizer = Adam(algorithm.config.outer, algorithm.meta)
    return SimpleNamespace(env=env, policy=policy, algorithm=algorithm, trajectories=trajectories, generator=generator)


@pytest.fixture
def build_problem():
    return build
