"""Trials of a policy with a memory: their states, greedy actions, and that they have no gradient steps."""

from __future__ import annotations

import pytest
import torch
import trials
from torch import Generator

from envs import InputError
from metarl.algorithms.trials import play_trials, trial_stages
from metarl.policies.rl2 import RL2Config


def played(num_tasks, num_envs, keep_states=False, greedy=False):
    env, generator = trials.board(), Generator().manual_seed(0)
    play = play_trials(env, trials.make(env, RL2Config(8)), num_envs, generator, 3, greedy)
    (trial,) = play(env.sample_tasks(num_tasks, generator), keep_states)
    return env, trial


def test_states_of_a_trial_are_kept_for_each_episode():
    env, trial = played(3, 4, keep_states=True)
    episodes = trial.episodes(env.horizon)
    assert len(episodes) == 3
    assert all(episode.states.cell.shape == (3, 1, 6 + 1, 4) for episode in episodes)
    assert all((episode.states.cell[:, 0, 0] == 0).all() for episode in episodes)


def test_the_most_probable_actions_leave_nothing_to_chance():
    _, trial = played(4, 3, greedy=True)
    assert torch.equal(trial.action, trial.action[:, :, :1].expand_as(trial.action))


def test_gradient_steps_are_refused(sentence):
    assert trial_stages("It", 3, None).num_episodes == 3
    with pytest.raises(InputError) as error:
        trial_stages("It", 3, 2)
    assert "--num-steps" in sentence(error)
