"""A PPO of Stable-Baselines3 on tasks: what its trajectories hold, and where its random numbers come from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Generator

import envs
from envs import InputError
from metarl.algorithms.sb3_learner import SB3Learner, global_streams
from metarl.policies.mlp import MLPConfig


def learner(horizon=6, **options) -> SB3Learner:
    env = envs.make("point", horizon=horizon)
    task = env.sample_tasks(3, Generator().manual_seed(0))
    return SB3Learner(MLPConfig((4,)), env, task[:1] if horizon == 1 else task, 1, 0, minibatches=1, **options)


def test_trajectories_hold_rewards_as_they_are_whatever_ppo_learns_from():
    """But at the time limit, where SB3 adds the value of what would have followed."""
    ours = learner(reward_scale=10.0)
    for _ in range(2):
        trajectory = ours.collect()
        assert trajectory.reward.shape == (3, 6, 1) and trajectory.states is None
        learned_from = torch.as_tensor(ours.model.rollout_buffer.rewards).mT[:, :-1, None]
        torch.testing.assert_close(learned_from, 10 * trajectory.reward[:, :-1])
        assert ours.train()["value_loss"] >= 0 and ours.sound


def test_options_of_ppo_are_taken():
    model = learner(learning_rate=0.02, n_epochs=3, gae_lambda=0.5).model
    assert (model.learning_rate, model.n_epochs, model.gae_lambda, model.batch_size) == (0.02, 3, 0.5, 18)


def test_one_step_is_too_little_to_learn_from(sentence):
    with pytest.raises(InputError) as error:
        learner(horizon=1)
    assert "at least two steps" in sentence(error)


def test_the_global_streams_come_from_the_generator_and_are_given_back():
    def draw():
        return torch.rand(2).tolist(), np.random.rand(2).tolist()  # noqa: NPY002

    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    undisturbed = draw()
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    inside = []
    for seed in (5, 5, 6):
        with pytest.raises(ZeroDivisionError), global_streams(Generator().manual_seed(seed)):
            inside.append(draw())
            _ = 1 / 0
    assert inside[0] == inside[1] != inside[2]
    assert draw() == undisturbed
