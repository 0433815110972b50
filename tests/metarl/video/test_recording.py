"""Videos of policies with a memory: a trial that unrolls, with attention over its past."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import envs
from metarl.algorithms.base import Setup, Stages
from metarl.algorithms.recurrent_ppo import RecurrentPPOConfig
from metarl.policies.metanet import MetaNetConfig
from metarl.video.beside import draw_attention
from metarl.video.compose import compose
from metarl.video.recording import Recording, pace, record_adaptation

EPISODES, HORIZON = 3, 4


def play_and_record(env, num_episodes=EPISODES, memory="full") -> Recording:
    generator = torch.Generator().manual_seed(0)
    policy = MetaNetConfig(memory=memory, hidden_size=8)
    algorithm = RecurrentPPOConfig(num_episodes).make(Setup(env, policy, generator))
    stages = algorithm.stages()
    play = algorithm.play(env, 2, generator, stages)
    return record_adaptation(play, env.sample_tasks(1, generator), stages, algorithm.attention)


@pytest.fixture(scope="module")
def env():
    return envs.make("point", horizon=HORIZON)


@pytest.fixture(scope="module")
def recording(env) -> Recording:
    return play_and_record(env)


def trial(num_episodes: int) -> Recording:
    """A recording of the given length, whose content does not matter."""
    rewards, stages = torch.zeros(num_episodes, 1, HORIZON), Stages(num_episodes=num_episodes)
    return Recording(torch.zeros(1), [], rewards, [HORIZON], 1, stages)  # type: ignore[arg-type]


# --- What is recorded --------------------------------------------------------------------------------------------


def test_an_episode_starts_at_the_start_and_ends_where_it_ended(env, recording):
    """Point starts at the origin and a trial resets it: no episode may end in the state that the next one starts in."""
    for episode in recording.episodes[0]:
        assert len(episode.states.position) == HORIZON + 1
        assert (episode.states.position[0] == 0).all()
        assert (episode.states.position[1:] != 0).all()


def test_the_attention_is_of_the_whole_trial_and_causal(recording):
    attention = recording.attention
    assert attention is not None and attention.shape == (1, EPISODES * HORIZON, EPISODES * HORIZON)
    assert (attention.triu() == 0).all()
    assert (attention.tril(-1)[0] > 0).sum() == EPISODES * HORIZON * (EPISODES * HORIZON - 1) // 2
    assert (attention.sum(-1) < 1).all()


def test_steps_that_did_not_happen_have_no_attention():
    recording = play_and_record(envs.make("point", horizon=20, goal_tolerance=0.9))
    happened = torch.zeros(EPISODES, 20)
    for k, episode in enumerate(recording.episodes[0]):
        happened[k, : len(episode.rewards)] = 1
    assert (happened == 0).any()
    assert recording.attention is not None
    gone = happened.flatten() == 0
    assert (recording.attention[0][gone] == 0).all() and (recording.attention[0][:, gone] == 0).all()
    assert recording.attention[0][~gone][1:].sum(-1).min() > 0


def test_without_a_memory_there_is_no_attention(env):
    assert play_and_record(env, memory="none").attention is None


def test_a_trial_is_played_at_a_pace_to_follow():
    for num_episodes, horizon in ((1, 10), (4, 15), (10, 10), (1, 500), (2, 200)):
        recording = replace(trial(num_episodes), durations=[horizon])
        every, fps = pace(recording)
        assert 2 <= fps <= 30 and 4 < num_episodes * horizon / every / fps < 16
        assert num_episodes * horizon / every <= 300


# --- Frames ------------------------------------------------------------------------------------------------------

SIZE, TOP, LEFT = 200, 132, 24


def panel_of(frame: np.ndarray, k: int) -> np.ndarray:
    x = LEFT + k * (SIZE + 16)
    return frame[TOP : TOP + SIZE, x : x + SIZE]


def test_episodes_play_one_after_another(env, recording):
    frames = list(compose(env, recording, size=SIZE, fps=2))
    assert len(frames) == EPISODES * HORIZON + 1 + 3
    assert len({frame.shape for frame in frames}) == 1
    for k in range(EPISODES):
        moving = [t for t in range(len(frames) - 1) if (panel_of(frames[t], k) != panel_of(frames[t + 1], k)).any()]
        begun = k * HORIZON
        assert moving == list(range(begun - (k > 0), begun + HORIZON))
        episodes = recording.episodes[0]
        earlier = [episode.states for episode in episodes[:k]]
        picture = env.render(recording.task[0], episodes[k].states, earlier, SIZE)
        np.testing.assert_array_equal(panel_of(frames[-1], k), picture)


def test_the_map_stands_in_the_frame(env, recording):
    frames = list(compose(env, recording, size=SIZE, fps=2))
    x = LEFT + EPISODES * (SIZE + 16) + 12
    assert recording.attention is not None
    for t in (0, 5, EPISODES * HORIZON):
        expected = draw_attention(recording.attention[0].numpy(), t, SIZE, HORIZON)
        np.testing.assert_array_equal(frames[t][TOP : TOP + SIZE, x : x + SIZE], expected)
    without = next(compose(env, replace(recording, attention=None), size=SIZE, fps=2))
    assert without.shape[1] == frames[0].shape[1] - SIZE - 16


def test_a_trial_of_one_episode_and_one_that_ends_early_are_drawn():
    bandit = envs.make("bernoulli-bandit", horizon=5)
    assert len(list(compose(bandit, play_and_record(bandit, 1), size=SIZE, fps=2))) == 5 + 1 + 3
    env = envs.make("point", horizon=20, goal_tolerance=0.9)
    recording = play_and_record(env)
    longest = recording.durations[0]
    assert longest < 20
    assert len(list(compose(env, recording, size=SIZE, fps=2))) == EPISODES * longest + 1 + 3
