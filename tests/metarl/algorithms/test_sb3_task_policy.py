"""PPO of Stable-Baselines3 fine-tunes on episodes that others collected as it does on its own."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

import envs
from envs import InputError
from metarl.algorithms.base import Setup
from metarl.algorithms.sb3_learner import global_streams
from metarl.algorithms.sb3_ppo import SB3PPOConfig
from metarl.algorithms.task_policy import Episode
from metarl.backend.errors import NonFiniteError
from metarl.policies.mlp import MLPConfig, StepInput

FAMILIES = {
    "point": envs.make("point", horizon=40),
    "gridworld": envs.make("gridworld", "varibad", width=3, height=3, min_goal_distance=1, horizon=40),
}


def setup(family):
    env, generator = FAMILIES[family], Generator().manual_seed(0)
    algorithm = SB3PPOConfig(reward_scale=0.5).make(Setup(env, MLPConfig((8,)), generator))
    return env, algorithm, env.sample_tasks(1, generator)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_round_of_fine_tuning_is_that_of_evaluation(family):
    env, algorithm, task = setup(family)
    with global_streams(Generator().manual_seed(3)):
        own = algorithm.learner(env, task, 3, Generator().manual_seed(4), finetune=True)
        step, seen = own.recorder.step, []
        own.recorder.step = lambda *args: seen.append(step(*args)) or seen[-1]
        played = own.collect()
    policy = algorithm.task_policy(env, 3, 1, Generator().manual_seed(5))
    columns = played.obs[0], played.action[0], played.reward[0]
    policy.learn([Episode(*(x[:, k] for x in columns), False, seen[-1].obs[k, 0]) for k in range(3)])
    with global_streams(Generator().manual_seed(5)):
        own.train()
    for name, tensor in own.model.policy.state_dict().items():
        torch.testing.assert_close(policy.model.policy.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)
        assert not torch.equal(tensor, algorithm.parameters["policy"][name])
    assert policy.steps_taken == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_it_acts_by_the_distributions_of_the_model(family):
    env, algorithm, task = setup(family)
    policy = algorithm.task_policy(env, 2, 1, Generator())
    obs = env.reset(task, 2, Generator().manual_seed(1))[1]
    zero = torch.zeros(1, 2)
    found = policy.act(StepInput(obs, zero, zero, zero > 0, zero + 1))
    action = found.sample(Generator().manual_seed(2))
    _, log_prob, entropy = policy.model.policy.evaluate_actions(obs[0], action[0])
    torch.testing.assert_close(found.log_prob(action)[0], log_prob)
    torch.testing.assert_close(found.entropy()[0], entropy)


def test_an_end_by_a_time_limit_needs_the_last_observation(sentence):
    env, algorithm, _ = setup("point")
    policy = algorithm.task_policy(env, 1, 1, Generator())
    steps = torch.zeros(4, 2), torch.zeros(4, 2), torch.ones(4)
    with pytest.raises(InputError) as error:
        policy.learn([Episode(*steps, False, None)])
    assert "info" in sentence(error)
    policy.learn([Episode(*steps, True, None)])
    assert policy.steps_taken == 1


def test_parameters_that_are_not_finite_are_taken_back():
    env, algorithm, _ = setup("point")
    policy = algorithm.task_policy(env, 1, 1, Generator())
    before = policy.state_dict()["parameters"]["policy"]
    policy.learner.recorder.reward_scale = float("inf")
    with pytest.raises(NonFiniteError):
        policy.learn([Episode(torch.zeros(4, 2), torch.zeros(4, 2), torch.ones(4), True, None)])
    assert all(torch.equal(x, before[name]) for name, x in policy.model.policy.state_dict().items())
    assert policy.steps_taken == 0
