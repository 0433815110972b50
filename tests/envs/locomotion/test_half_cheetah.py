"""HalfCheetah beside Gymnasium's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from robots import actions, gym_env, state_of

import envs


def test_rewards_of_half_cheetah_follow_from_gymnasiums_velocity():
    theirs, env = gym_env("half_cheetah"), envs.make("half-cheetah-vel")
    state, task = state_of(theirs.unwrapped.data), env.task_from_dicts([{"goal_velocity": 1.3}])
    for action in actions(env.physics.model, 200):
        *_, info = theirs.step(action[0, 0].numpy())
        result = env.step(task, state, action, torch.Generator())
        expected = -abs(info["x_velocity"] - 1.3) - 0.05 * np.square(action.numpy()).sum()
        assert result.reward.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
        state = result.state
