"""Meta-iterations without inner steps, before those with them."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Generator

import envs
from metarl.algorithms.maml import MAML, MAMLConfig
from metarl.algorithms.outer import AdamConfig, TRPOConfig
from metarl.learning.rollout import collect
from metarl.policies.mlp import MLPConfig, make_policy


def learner(**config):
    env, generator = envs.make("point", horizon=6), Generator().manual_seed(0)
    policy = make_policy(env.observation_space, env.action_space, MLPConfig((4,)))
    return env, MAML(MAMLConfig(**config), env, policy, generator), generator


def iterate(env, algorithm, generator):
    task = env.sample_tasks(3, generator)
    trajectories = collect(env, algorithm.policy, algorithm.params, task, algorithm.adapters(), 4, generator)
    return len(trajectories), algorithm.update(trajectories)


def test_inner_steps_begin_after_it():
    env, algorithm, generator = learner(pretrain_iterations=2, num_inner_steps=2)
    assert [iterate(env, algorithm, generator)[0] for _ in range(4)] == [1, 1, 3, 3]
    assert len(algorithm.adapters(3, test=True)) == 3


def test_at_test_a_policy_adapts_also_before_it_ends():
    assert len(learner(pretrain_iterations=5)[1].adapters(2, test=True)) == 2


def test_it_takes_fewer_episodes_if_told():
    env, algorithm, generator = learner(pretrain_iterations=2, pretrain_envs=3)
    task = env.sample_tasks(2, generator)
    episodes = []
    for _ in range(3):
        trajectories = algorithm.collect(env, task, 5, generator)
        episodes.append([t.mask.shape[-1] for t in trajectories])
        algorithm.update(trajectories)
    assert episodes == [[3], [3], [5, 5]]
    assert [MAMLConfig(pretrain_iterations=2, pretrain_envs=n).pretrain_rounds(6) for n in (3, 0)] == [1, 2]


@pytest.mark.parametrize("outer", [TRPOConfig(), AdamConfig(outer_lr=0.1)])
def test_it_is_ppo_on_all_tasks_whatever_the_outer_step(outer):
    """The same as MAML with inner steps of size 0 and clipped outer steps, on the same trajectories."""
    env, algorithm, generator = learner(pretrain_iterations=1, outer=outer)
    task = env.sample_tasks(3, generator)
    trajectory = collect(env, algorithm.policy, algorithm.params, task, [], 4, generator)[0]
    _, still, _ = learner(inner_lr=0.0, outer=AdamConfig(outer_lr=3e-3))
    algorithm.update([trajectory])
    before = still.params
    still.update([trajectory, trajectory])
    assert not torch.equal(algorithm.params, before)
    torch.testing.assert_close(algorithm.params, still.params)


@pytest.mark.parametrize("outer", [{}, {"outer": AdamConfig(inner_kl_coef=5e-4), "estimator": "lvc"}])
def test_learned_rates_wait(outer):
    env, algorithm, generator = learner(pretrain_iterations=2, learned_rates="tensor", **outer)
    size = algorithm.policy.num_parameters
    before = algorithm.meta.clone()
    for _ in range(2):
        iterate(env, algorithm, generator)
    assert torch.equal(algorithm.meta[size:], before[size:]) and not torch.equal(algorithm.params, before[:size])
    iterate(env, algorithm, generator)
    assert not torch.equal(algorithm.meta[size:], before[size:])


def test_a_run_resumed_across_its_end_goes_on_bit_for_bit(script, tmp_path):
    small = ("--meta-batch-size", 2, "--num-envs", 3, "--env.horizon", 5, "--hidden-sizes", 4)

    def train(name, iterations):
        arguments = ("--pretrain-iterations", 2, "--num-iterations", iterations, "--run-dir", tmp_path / name)
        assert script("train", "maml-point", *small, *arguments).status == 0

    def log(name):
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in line.items() if "seconds" not in k} for line in lines]

    train("whole", 4)
    train("halved", 1)
    assert script("train", "--resume", tmp_path / "halved", "--num-iterations", 4).status == 0
    assert log("halved") == log("whole")
    assert ["return_1" in line for line in log("whole")] == [False, False, True, True]


def test_a_negative_number_is_refused():
    with pytest.raises(envs.InputError, match=r"pretrain_iterations must be at least 0, not -1\."):
        MAMLConfig(pretrain_iterations=-1)
