"""Environments of the real package as families of layouts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import envs

minigrid = pytest.importorskip("envs.extras.minigrid", reason="minigrid is an extra")
ONE = "minigrid-dynamic-obstacles-5x5"


def layout_and_view(env, layout: int, seed: int, steps: int = 0):
    env.layout = layout
    obs, _ = env.reset(seed=seed)
    before = env.unwrapped.grid.encode()
    for _ in range(steps):
        obs, *_ = env.step(1)
    return before, obs


def test_every_environment_shows_codes_of_its_space_on_an_episode():
    for name in minigrid.names():
        env = minigrid.made(minigrid.IDS[name])()
        obs, _ = env.reset(seed=0)
        rng = np.random.default_rng(0)
        for _ in range(20):
            assert obs.shape == (7, 7, 3) and env.observation_space.contains(obs), name
            obs, _, terminated, _, _ = env.step(rng.integers(env.action_space.n))
            if terminated:
                break


def test_names_are_of_the_latest_versions():
    assert minigrid.IDS["multi-room-n4-s5"] == "MiniGrid-MultiRoom-N4-S5-v1"
    assert minigrid.IDS["empty-random-5x5"] == "MiniGrid-Empty-Random-5x5-v0"


def test_a_layout_is_the_same_in_every_episode_and_chance_is_not():
    env = minigrid.made(minigrid.IDS["dynamic-obstacles-8x8"])()
    first, one = layout_and_view(env, 5, seed=1, steps=4)
    again, other = layout_and_view(env, 5, seed=2, steps=4)
    assert np.array_equal(first, again) and not np.array_equal(one, other)
    assert np.array_equal(one, layout_and_view(env, 5, seed=1, steps=4)[1])
    assert not np.array_equal(first, layout_and_view(env, 6, seed=1)[0])


def test_splits_hold_other_layouts(asked):
    env = envs.make(ONE, workers=1)
    for number, split in enumerate(("train", "validation", "test")):
        drawn = env.sample_tasks(200, envs.task_generator(0, split), split).layout
        assert set((drawn // minigrid.SEEDS).tolist()) == {number}


def test_the_family_keeps_the_contract_and_draws_itself(asked):
    env = envs.make(ONE, workers=1)
    assert env.observation_space.shape == (7, 7, 3) and env.observation_space.dtype == np.uint8
    envs.check_env(env)
    generator = envs.task_generator(0, "train")
    task = env.sample_tasks(1, generator)
    state, _ = env.reset(task, 1, generator)
    start = type(state).stack([state[0, 0]])
    image = env.render(task[0], start)
    assert image.shape == (480, 480, 3) and len(np.unique(image.reshape(-1, 3), axis=0)) > 3
    moved = env.step(task, state, torch.ones(1, 1, dtype=torch.int64), generator).state
    assert not np.array_equal(image, env.render(task[0], type(state).stack([state[0, 0], moved[0, 0]])))


def test_an_episode_succeeds_where_it_is_rewarded(asked):
    env, generator = envs.make("minigrid-empty-random-5x5", workers=1), envs.task_generator(0, "train")
    task = env.sample_tasks(20, generator)
    state, _ = env.reset(task, 1, generator)
    states, rewards = [state], []
    for _ in range(env.horizon):
        result = env.step(task, state, env.random_actions(task, state, None, generator), generator)
        state = result.state
        states.append(state)
        rewards.append(result.reward)
    reward = torch.stack(rewards, 1)
    scores = env.scores(task, type(state).stack(states, 1), torch.zeros(20, env.horizon, 1), reward)
    assert torch.equal(scores["success"] > 0, reward.sum(1) > 0) and 0 < scores["success"].sum() < 20
