"""Rollouts and inner steps read nothing back from the device: no operation here would make the host wait for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Generator
from waits import Waits

import envs
from metarl.algorithms import trials
from metarl.learning.rollout import rollout
from metarl.training.config import make_algorithm
from metarl.training.presets import preset


@pytest.fixture(autouse=True)
def as_on_a_device(monkeypatch):
    """Steps of policies with a memory are traced on the CPU alone."""
    monkeypatch.setattr(trials, "traced_step", lambda network: network.step)


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: float(x[0]),
        lambda x: bool((x > 0).all()),
        lambda x: x.nonzero(),
        lambda x: x + torch.tensor([1.0, 2.0, 3.0]),
        lambda x: torch.linalg.solve(x.diag(), x),
    ],
)
def test_the_watch_sees_what_waits(work):
    with Waits() as waits:
        work(torch.tensor([1.0, -1.0, 2.0]))
    assert len(waits.found) > 1  # the argument's own, and what the work adds


@pytest.mark.parametrize(
    "name",
    [
        "maml-point",
        "reptile-gridworld",
        "promp-bandit",
        "maml-tabular-mdp",
        "metanet-gridworld",
        "metanet-point",
        "metanet-bandit",
        "rl2-tabular-mdp",
    ],
)
def test_collecting_reads_nothing_back(name):
    config = preset(name)
    env, generator = envs.make(config.env, config.env_preset, horizon=5), Generator().manual_seed(0)
    algorithm = make_algorithm(config, env, generator)
    task = env.sample_tasks(3, generator)
    with Waits() as waits:
        trajectories = algorithm.collect(env, task, 2, generator)
    assert waits.found == [] and trajectories[0].reward.shape[:1] == (3,)


@pytest.mark.parametrize("name", ["metanet-gridworld", "metanet-point", "metanet-bandit", "rl2-tabular-mdp"])
def test_an_update_on_trials_reads_only_its_metrics(name):
    """Besides Adam, whose step count is a number of the host here and stays on a device there."""
    config = preset(name)
    env, generator = envs.make(config.env, config.env_preset, horizon=5), Generator().manual_seed(0)
    algorithm = make_algorithm(config, env, generator)
    trajectories = algorithm.collect(env, env.sample_tasks(3, generator), 2, generator)
    algorithm.optimizer.step = lambda: None
    with Waits() as waits:
        metrics = algorithm.update(trajectories)
    assert waits.found == [] and metrics["entropy"] > 0


def test_learned_step_sizes_are_not_read_back():
    config = preset("meta-sgd-point")
    config = replace(config, algorithm=replace(config.algorithm, learned_rates="tensor"))
    env, generator = envs.make(config.env, horizon=5), Generator().manual_seed(0)
    algorithm = make_algorithm(config, env, generator)
    with Waits() as waits:
        algorithm.collect(env, env.sample_tasks(3, generator), 2, generator)
    assert waits.found == []


@pytest.mark.parametrize("memory", ["full", "ring", "linear", "delta"])
def test_no_memory_reads_back(memory):
    config = preset("metanet-gridworld")
    config = replace(config, policy=replace(config.policy, memory=memory, hidden_size=8))
    env, generator = envs.make("gridworld", config.env_preset, horizon=5), Generator().manual_seed(0)
    algorithm = make_algorithm(config, env, generator)
    with Waits() as waits:
        algorithm.collect(env, env.sample_tasks(2, generator), 1, generator)
    assert waits.found == []


@pytest.mark.parametrize(
    "family", [family for family in envs.FAMILIES if not hasattr(envs.make_config(family), "engine")]
)
def test_environments_read_nothing_back(family):
    env, generator = envs.make(family), Generator().manual_seed(0)
    task = env.sample_tasks(2, generator)

    def act(inputs, state, memory):
        return memory, memory

    state, _ = env.reset(task, 3, generator)
    action = env.random_actions(task, state, None, generator)
    with Waits() as waits:
        rollout(env, act, task, 3, generator, 2, memory=action)
    assert waits.found == []
