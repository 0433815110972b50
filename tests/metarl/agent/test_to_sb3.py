"""Policies of a run as models of Stable-Baselines3."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_models import (
    ARM,
    SMALL,
    Anything,
    assert_same,
    lanes,
    ours,
    some_obs,
    theirs,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize
from torch import Generator

import envs
import metarl
from envs import InputError
from envs.adapters.sb3 import TaskVecEnv
from metarl.algorithms.maml import MAML, MAMLConfig
from metarl.algorithms.reptile import ReptileConfig
from metarl.algorithms.sb3_convert import from_sb3, policy_to_sb3
from metarl.learning.rollout import rollout
from metarl.policies.mlp import MLPConfig, make_policy
from metarl.training.loop import train


def run_of(make_run, algorithm=None, **fields):
    run = make_run(algorithm=algorithm or MAMLConfig(), num_iterations=2, hidden_sizes=(8, 6), **fields)
    train(run, quiet=True)
    return run


@pytest.mark.parametrize(
    "algorithm", [MAMLConfig(learned_rates="parameter"), ReptileConfig(average_last=1.0)], ids=["meta-sgd", "reptile"]
)
def test_a_meta_learned_start_goes_to_ppo_and_comes_back(make_run, algorithm):
    run = run_of(make_run, algorithm)
    task = run.env.task_to_dicts(run.env.sample_tasks(1, Generator().manual_seed(0)))
    env = TaskVecEnv(run.env, 2, tasks=task * 2, seed=0)
    model = metarl.load(run.path).to_sb3(env, **SMALL)
    obs = some_obs(env)
    start = run.algorithm.inner.params
    assert_same(theirs(model, obs), ours(run.algorithm.policy, start, obs))
    assert torch.equal(from_sb3(model).init(Generator()), start)
    model.learn(32)
    learned = from_sb3(model)
    assert learned.init(Generator()).isfinite().all() and not torch.equal(learned.init(Generator()), start)

    generator = Generator().manual_seed(0)
    maml = MAML(MAMLConfig(), run.env, learned, generator)
    assert torch.equal(maml.params, learned.init(Generator()))
    maml.update(maml.collect(run.env, run.env.sample_tasks(3, generator), 4, generator))
    assert not torch.equal(maml.params, learned.init(Generator()))
    adapt = maml.adapters(1)[0]
    trajectory = maml.collect(run.env, run.env.sample_tasks(1, generator), 4, generator)[0]
    adapted, _ = adapt(learned.init(generator).unsqueeze(0), None, trajectory)
    assert_same(theirs(policy_to_sb3(learned, adapted[0], env, **SMALL), obs), ours(learned, adapted[0], obs))


def test_any_environment_with_equal_spaces_will_do(make_run):
    run = run_of(make_run)
    for env in (
        gymnasium.make("metarl/Point-v0", horizon=5, task={"goal": [0.3, 0.2]}),
        lanes(),
        lanes(horizon=9),  # whose observations may be further out
        VecNormalize(lanes(), norm_obs=False),
    ):
        metarl.load(str(run.path)).to_sb3(env, **SMALL).learn(8)


@pytest.mark.parametrize("informed", [False, True])
def test_an_sb3_run_comes_with_its_value_network(make_run, informed, sentence):
    from metarl.algorithms.sb3_ppo import SB3PPOConfig

    run = run_of(make_run, SB3PPOConfig(informed=informed))
    told = envs.informed(run.env)
    right, wrong = (TaskVecEnv(env, 2, seed=0) for env in ((told, run.env) if informed else (run.env, told)))
    model = metarl.load(run.path).to_sb3(right, **SMALL)
    for name, tensor in model.policy.state_dict().items():
        assert torch.equal(tensor, run.algorithm.parameters["policy"][name])
    model.learn(16)
    with pytest.raises(InputError) as error:
        metarl.load(run.path).to_sb3(wrong)
    assert "reads observations of the shape" in sentence(error)


def test_their_evaluation_and_ours_agree(make_run):
    """A deterministic policy in a deterministic environment, whose episodes end early in some lanes."""
    run = run_of(make_run, horizon=12)
    env = envs.make("point", horizon=12, goal_tolerance=0.2)
    task = env.sample_tasks(20, Generator().manual_seed(1))
    model = metarl.load(run.path).to_sb3(TaskVecEnv(env, 1, seed=0), **SMALL)
    with torch.no_grad():
        model.policy.action_net.bias.fill_(0.8)
    vec_env = TaskVecEnv(env, 20, tasks=env.task_to_dicts(task), seed=0)
    returns, lengths = evaluate_policy(model, vec_env, 20, return_episode_rewards=True, warn=False)

    def predicted(inputs, state, memory):
        action, _ = model.predict(inputs.obs.flatten(0, 1).numpy(), deterministic=True)
        return torch.as_tensor(action).unflatten(0, inputs.obs.shape[:2]), memory

    def most_likely(inputs, state, memory):
        policy = from_sb3(model)
        return policy.bind(policy.init(Generator()).expand(20, -1))(inputs, None)[0].mode(), memory

    same = rollout(env, predicted, task, 1, Generator())
    assert 0 < (same.mask.sum(1) < 12).sum() < 20, "some of them should end early"
    # lanes finish in the order of their lengths, and lane by lane in one step
    order = same.mask[:, :, 0].sum(1).argsort(stable=True)
    assert lengths == same.mask[:, :, 0].sum(1)[order].tolist()
    assert returns == same.reward[:, :, 0].double().cumsum(1)[order, -1].tolist()
    np.testing.assert_allclose(rollout(env, most_likely, task, 1, Generator()).returns[order, 0], returns, atol=1e-4)


def test_other_spaces_are_refused_in_one_sentence(make_run, sentence):
    run = run_of(make_run)
    for env, words in {
        lanes("bernoulli-bandit"): "reads observations of the shape (2,), and those of the environment are Box(",
        lanes("gridworld", preset="varibad"): "float32), and the environment Discrete(5); choose",
        Anything(spaces.Box(-1, 1, (2,)), spaces.Discrete(2)): "and the environment Discrete(2); choose one with equal",
        Anything(spaces.Box(-1, 1, (2,)), spaces.Box(-2, 2, (2,))): "and the environment Box(-2.0, 2.0, (2,), float32)",
        Anything(spaces.Discrete(2), ARM): "and those of the environment are Discrete(2)",
        run.env: "must be one of Gymnasium or SB3, such as TaskVecEnv(env, num_envs).",
        "metarl/Point-v0": "must be one of Gymnasium or SB3",
    }.items():
        with pytest.raises(InputError) as error:
            metarl.load(run.path).to_sb3(env)
        assert words in sentence(error)
    policy = make_policy(run.env.observation_space, run.env.action_space, MLPConfig((4,)))
    with pytest.raises(InputError) as error:
        policy_to_sb3(policy, policy.init(Generator()), lanes("gridworld", preset="varibad"))
    assert "has 2 outputs, which does not fit an environment with 2 numbers and the actions Disc" in sentence(error)
    with pytest.raises(InputError) as error:
        policy_to_sb3(policy, policy.init(Generator()).expand(2, -1), lanes())
    assert "One set of" in sentence(error)


def test_a_policy_with_a_memory_is_refused(script, tmp_path, sentence):
    options = ["--meta-batch-size", 2, "--hidden-size", 8, "--num-iterations", 1]
    assert script("train", "rl2-bandit", "--run-dir", tmp_path / "rl2", *options).status == 0
    with pytest.raises(InputError) as error:
        metarl.load(tmp_path / "rl2").to_sb3(lanes("bernoulli-bandit"))
    assert "policy with a memory" in sentence(error)
