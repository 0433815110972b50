"""A policy with a context vector: CAVIA."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

import envs
from metarl.algorithms.base import Setup
from metarl.algorithms.maml import MAMLConfig
from metarl.algorithms.sb3_ppo import SB3PPOConfig
from metarl.policies.context import ContextPolicy, make_any_policy
from metarl.policies.mlp import MLPConfig, MLPPolicy


def spaces():
    env = envs.make("point", horizon=6)
    return env, env.observation_space, env.action_space


def test_a_context_is_an_input_beside_the_observation():
    env, observations, actions = spaces()
    policy = make_any_policy(observations, actions, MLPConfig((4,), context_size=3))
    assert isinstance(policy, ContextPolicy)
    generator = Generator().manual_seed(0)
    params = policy.init(generator)
    assert len(params) == policy.num_parameters == sum(policy.tensor_sizes) and not params[-3:].any()
    rows = params.expand(2, -1).clone()
    rows[1, -3:] = torch.tensor([0.5, -1.0, 2.0])
    task = env.sample_tasks(2, generator)
    inputs = envs_inputs(env, task, generator)
    network, _ = policy.bind(rows)(inputs, None)
    beside = torch.cat([inputs.obs, rows[:, None, None, -3:].expand(*inputs.obs.shape[:-1], -1)], -1)
    plain, _ = policy.mlp.bind(rows[:, :-3])(type(inputs)(**{**vars(inputs), "obs": beside}), None)
    torch.testing.assert_close(network.mode(), plain.mode())


def envs_inputs(env, task, generator):
    from metarl.learning.rollout import policy_actor, rollout

    policy = MLPPolicy(env.observation_space, env.action_space, MLPConfig((4,)))
    params = policy.init(generator).expand(len(task), -1)
    return rollout(env, policy_actor(policy, params, generator), task, 2, generator).inputs


def test_inner_steps_move_the_context_alone_and_training_all_but_its_start():
    env, *_ = spaces()
    generator = Generator().manual_seed(0)
    algorithm = MAMLConfig(adapt="context").make(Setup(env, MLPConfig((4,), context_size=3), generator))
    task = env.sample_tasks(3, generator)
    trajectories = algorithm.collect(env, task, 4, generator)
    start = algorithm.params.expand(3, -1)
    after, _ = algorithm.adapters(1)[0](start, None, trajectories[0])
    still = (after == start).all(0)
    assert still[:-3].all() and not still[-3:].any()
    before = algorithm.params.clone()
    assert algorithm.update(trajectories)["step"] > 0
    assert not torch.equal(algorithm.params[:-3], before[:-3])


def test_sb3_has_no_context():
    pytest.importorskip("stable_baselines3")
    env, *_ = spaces()
    setup = Setup(env, MLPConfig((4,), context_size=3), Generator().manual_seed(0))
    with pytest.raises(envs.InputError, match="context"):
        SB3PPOConfig().make(setup)
    with pytest.raises(envs.InputError, match="context"):
        MAMLConfig(adapt="context").make(setup).task_policy(env, 1, 0, Generator()).to_sb3(None)
