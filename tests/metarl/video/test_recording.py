"""Videos of policies with a memory: a trial that unrolls, with attention over its past."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import envs
from metarl.algorithms.base import Stages
from metarl.algorithms.recurrent_ppo import RecurrentPPOConfig
from metarl.policies.metanet import MetaNetConfig
from metarl.video.compose import compose
from metarl.video.frames import DEEP, GrowingChart, Sheet, draw_attention, stage_colours
from metarl.video.recording import Recording, pace, record_adaptation

EPISODES, HORIZON = 3, 4


def play_and_record(env, num_episodes=EPISODES, refine_steps=0, memory="full") -> Recording:
    generator = torch.Generator().manual_seed(0)
    policy = MetaNetConfig(memory=memory, hidden_size=8)
    algorithm = RecurrentPPOConfig(num_episodes).make(env, policy, generator, 1)
    stages = algorithm.stages(refine_steps=refine_steps)
    play = algorithm.play(env, 2, generator, stages)
    return record_adaptation(play, env.sample_tasks(1, generator), stages, algorithm.attention)


@pytest.fixture(scope="module")
def env():
    return envs.make("point", horizon=HORIZON)


@pytest.fixture(scope="module")
def recording(env) -> Recording:
    return play_and_record(env)


def stages(num_episodes: int, refined: int = 0) -> Recording:
    """A recording of the given length, whose content does not matter."""
    rewards = torch.zeros(num_episodes + refined, 1, HORIZON)
    return Recording(torch.zeros(1), [], rewards, [HORIZON], 1, Stages(refined, num_episodes))  # type: ignore[arg-type]


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


# --- Panels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refined", [0, 1, 2, 4])
@pytest.mark.parametrize("num_episodes", [2, 4, 5, 6, 10, 30])
def test_panels_are_few_and_keep_the_first_and_last_episode_and_the_last_refinement(num_episodes, refined):
    panels = stages(num_episodes, refined).panels
    assert [k for panel in panels for k in panel] == list(range(num_episodes + refined))  # every stage is seen once
    stay = [panel[-1] for panel in panels]
    assert len(stay) <= 5
    assert {0, num_episodes - 1, num_episodes + refined - 1} <= set(stay)
    if num_episodes + refined <= 5:
        assert stay == list(range(num_episodes + refined))


def test_names():
    assert stages(2, 1).names == ["episode 1", "episode 2", "refined 1×"]
    assert stages(1).names == ["trial"]
    rewards = torch.zeros(3, 1, 2)
    gradient = Recording(torch.zeros(1), [], rewards, [2], 1, Stages(2))  # type: ignore[arg-type]
    assert gradient.names == ["before adaptation", "after 1 gradient step", "after 2 gradient steps"]


def test_a_trial_is_played_at_a_pace_to_follow():
    for num_episodes, horizon in ((1, 10), (4, 15), (10, 10), (1, 500), (2, 200)):
        recording = replace(stages(num_episodes), durations=[horizon])
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


def test_refined_episodes_play_with_the_last(env):
    recording = play_and_record(env, refine_steps=1)
    frames = list(compose(env, recording, size=SIZE, fps=2))
    assert len(frames) == EPISODES * HORIZON + 1 + 3
    for k in (EPISODES - 1, EPISODES):
        start = (EPISODES - 1) * HORIZON
        assert (panel_of(frames[start - 1], k) == panel_of(frames[0], k)).all()
        assert (panel_of(frames[start], k) != panel_of(frames[0], k)).any()
        episodes = recording.episodes[0]
        earlier = [episode.states for episode in episodes[: EPISODES - 1]]  # not the version that was not refined
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


# --- The map and the chart ---------------------------------------------------------------------------------------


def shares(steps: int) -> np.ndarray:
    weight = np.random.default_rng(0).random((steps, steps)).astype(np.float32) * np.tri(steps, k=-1, dtype=np.float32)
    return weight / (weight.sum(1, keepdims=True) + 0.3)


def test_the_map_grows_by_rows_and_earlier_rows_stay():
    cell, attention = 10, shares(12)
    final = draw_attention(attention, 12, 120, 4)
    for t in range(12):
        image = draw_attention(attention, t, 120, 4)
        above, below = slice(0, max(0, t * cell - 3)), slice((t + 1) * cell + 3, None)
        np.testing.assert_array_equal(image[above], final[above])
        np.testing.assert_array_equal(image[below], draw_attention(np.zeros_like(attention), t, 120, 4)[below])
    assert (draw_attention(attention, 0, 120, 4) != final).any()


def test_the_future_is_blank():
    """Whatever stands there."""
    attention = shares(12)
    wrong = attention + np.triu(np.ones_like(attention)) * 1e-9
    np.testing.assert_array_equal(draw_attention(attention, 12, 120, 12), draw_attention(wrong, 12, 120, 12))
    paper = draw_attention(attention, 12, 120, 12)[5, 115]
    for row in range(12):
        assert (draw_attention(attention, 12, 120, 12)[row * 10 + 5, row * 10 + 5 :] == paper).all()


def test_shades_are_shares_against_an_equal_one():
    attention = np.zeros((4, 4), np.float32)
    attention[3, :3] = [2 / 3, 1 / 3, 1e-6]
    dark, middle, white = draw_attention(attention, 4, 40, 4)[35, [5, 15, 25]].astype(int)
    assert "#{:02x}{:02x}{:02x}".format(*dark) == DEEP
    np.testing.assert_allclose(middle, (dark + 255) / 2, atol=1)
    assert (white == 255).all()


def chart(curves, starts) -> GrowingChart:
    names = [str(k) for k in range(len(curves))]
    sheet = Sheet("", "", names, names, "gradient steps", np.array(curves), starts, len(curves), 1)
    return GrowingChart(sheet, stage_colours(len(curves)), 300, 200)


def test_the_growing_chart_grows_on_axes_that_stay():
    growing = chart([[0.0, -1.0, -4.0], [0.0, -1.0, -1.5]], [0, 0])
    (start, first), (end, last) = growing.draw(0), growing.draw(2)
    assert start.shape == end.shape == (200, 300, 3) and (start != end).any()
    assert [value for _, _, value in last] == [-4.0, -1.5]
    assert first[0][1] == first[1][1] < last[1][1] < last[0][1]  # both start at 0; further down is a larger y
    np.testing.assert_array_equal(growing.draw(0)[0], start)


def test_in_a_trial_the_chart_has_the_episodes_so_far():
    growing = chart([[0.0, 1.0, 2.0], [0.0, 3.0, 6.0]], [0, 2])
    assert [[value for *_, value in growing.draw(t)[1]] for t in range(5)] == [[0], [1], [2, 0], [2, 3], [2, 6]]


@pytest.mark.parametrize("end", [-8.89, -15.3, 566.0])
def test_both_parts_of_the_chart_have_the_same_lines(end):
    left, right = chart([[0.0, end / 2, end], [0.0, 0.0, end / 40]], [0, 0]).figure.axes
    assert left.get_yticks().tolist() == right.get_yticks().tolist()


def test_a_single_stage_has_one_chart():
    growing = chart([[0.0, 1.0, 2.0]], [0])
    assert len(growing.figure.axes) == 1
    (x, y, value), (x_later, y_later, later) = growing.draw(1)[1][0], growing.draw(2)[1][0]
    assert (value, later) == (1.0, 2.0) and x < x_later and y > y_later
