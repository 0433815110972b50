"""The Gymnasium faces, over every family and preset and in detail."""

from __future__ import annotations

import copy
import itertools
import pickle

import gymnasium
import numpy as np
import pytest
import torch
from faces import EAST, GO_EAST, GO_NORTH, NORTH, POINT, running, single, some_actions, vector
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from torch import Generator

import envs
from envs.adapters.gym import TaskEnv, TaskVectorEnv
from envs.adapters.sb3 import make_sb3


def is_deterministic(env: envs.Env) -> bool:
    """Do different generators lead to one and the same episode?"""
    task = env.sample_tasks(1, Generator().manual_seed(0))
    observed = []
    for seed in (1, 2):
        generator = Generator().manual_seed(seed)
        state, obs = env.reset(task, 1, generator)
        seen = [obs]
        for action in some_actions(env, min(10, env.horizon), 1):
            result = env.step(task, state, torch.as_tensor(action)[:, None], generator)
            state = result.state
            seen += [result.obs, result.reward]
        observed.append(seen)
    return all(torch.equal(a, b) for a, b in zip(*observed, strict=True))


class TestEveryFamily:
    @pytest.mark.filterwarnings("error")
    def test_gymnasium_has_no_complaint(self, family, preset):
        check_env(single(family, preset, render_mode="rgb_array").unwrapped)

    @pytest.mark.filterwarnings("error")
    def test_the_vector_environment_declares_itself(self, family, preset):
        env = vector(family, preset, 3)
        assert isinstance(env.unwrapped, TaskVectorEnv) and env.num_envs == 3
        assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
        assert env.observation_space.shape == (3, *env.single_observation_space.shape)
        assert env.single_action_space == single(family, preset).action_space
        obs, info = env.reset(seed=1)
        assert env.observation_space.contains(obs) and info == {}
        obs, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert env.observation_space.contains(obs) and reward.shape == (3,) and reward.dtype == np.float64
        assert terminated.dtype == truncated.dtype == np.bool_

    def test_lanes_are_what_gymnasium_makes_of_single_environments(self, family, preset):
        env = envs.make(family, preset)
        if not is_deterministic(env):
            pytest.skip("a batch of lanes shares its random stream")
        ours = vector(family, preset, 3)
        makers = [lambda: single(family, preset) for _ in range(3)]
        theirs = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
        np.testing.assert_array_equal(ours.reset(seed=11)[0], theirs.reset(seed=11)[0])
        assert ours.tasks == [lane.unwrapped.task for lane in theirs.envs]
        for action in some_actions(env, 2 * env.horizon + 5, 3):
            ours_result, theirs_result = ours.step(action), theirs.step(action)
            for a, b in zip(ours_result[:4], theirs_result[:4], strict=True):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)
            info, expected = ours_result[4], theirs_result[4]
            assert info.keys() == expected.keys()
            if expected:
                np.testing.assert_array_equal(info["_final_obs"], expected["_final_obs"])
                assert info["final_obs"].dtype == object and info["final_info"] == expected["final_info"]
                for a, b in zip(info["final_obs"], expected["final_obs"], strict=True):
                    np.testing.assert_array_equal(a, b)

    def test_the_split_is_a_sampling_option(self, family, preset):
        env = single(family, preset).unwrapped
        for split in env.lanes.env.splits:
            direct = envs.make(family, preset)
            expected = direct.task_to_dicts(direct.sample_tasks(4, envs.task_generator(9, split), split))
            assert env.sample_tasks(4, seed=9, split=split) == expected

    def test_one_seed_draws_different_tasks_in_different_splits(self, family, preset):
        env = single(family, preset).unwrapped
        drawn = [env.sample_tasks(30, seed=3, split=split) for split in ("train", "validation", "test")]
        assert all(a != b for a, b in itertools.combinations(drawn, 2))


class TestTasksOfASingleEnvironment:
    def test_a_given_task_is_kept(self):
        env = gymnasium.make(POINT, task=NORTH)
        for seed in (None, 1, None, 2):
            env.reset(seed=seed)
            assert env.unwrapped.task == NORTH

    def test_a_seed_draws_a_task_and_reset_alone_keeps_it(self):
        env = gymnasium.make(POINT)
        assert env.unwrapped.task is None
        env.reset()
        first = env.unwrapped.task
        env.reset()
        assert env.unwrapped.task == first
        env.reset(seed=1)
        second = env.unwrapped.task
        env.reset()
        assert env.unwrapped.task == second != first
        assert np.abs(second["goal"]).max() <= 0.5, "a task of the train split"

    def test_unseeded_environments_draw_different_tasks(self):
        tasks = []
        for _ in range(2):
            env = gymnasium.make(POINT)
            env.reset()
            tasks.append(env.unwrapped.task)
        assert tasks[0] != tasks[1]

    def test_a_set_task_waits_for_the_next_reset(self):
        env = gymnasium.make(POINT, task=NORTH)
        env.reset()
        env.unwrapped.set_task(EAST)
        assert env.step(GO_NORTH)[1] == pytest.approx(-(0.2**2))
        env.reset()
        assert env.step(GO_EAST)[1] == pytest.approx(-(0.2**2))
        env.reset(seed=3)
        assert env.unwrapped.task == EAST, "and is kept like any given task"

    def test_reset_options_give_and_draw_tasks(self):
        env = gymnasium.make(POINT, task=NORTH)
        env.reset(seed=0, options={"task": EAST})
        assert env.unwrapped.task == EAST and env.step(GO_EAST)[1] == pytest.approx(-(0.2**2))
        env.reset(options={"resample_task": True})
        first = env.unwrapped.task
        env.reset(options={"resample_task": True})
        assert first not in (NORTH, EAST) and env.unwrapped.task != first
        env.reset(seed=4)
        drawn = env.unwrapped.task
        assert drawn != first, "a task that was drawn is not kept from the next seed"
        env.reset(seed=4, options={"resample_task": True})
        assert env.unwrapped.task == drawn

    def test_resampling_is_reproducible(self):
        def tasks():
            env = gymnasium.make(POINT)
            env.reset(seed=5)
            for _ in range(3):
                yield env.unwrapped.task
                env.reset(options={"resample_task": True})

        assert list(tasks()) == list(tasks())

    def test_sampling_tasks_does_not_disturb_the_episode(self):
        env = gymnasium.make(POINT)
        env.reset(seed=1)
        before, task = env.unwrapped.lanes.generator.get_state(), env.unwrapped.task
        env.unwrapped.sample_tasks(3, seed=1)
        assert torch.equal(before, env.unwrapped.lanes.generator.get_state()) and env.unwrapped.task == task


class TestEndsOfEpisodes:
    def test_the_horizon_truncates(self):
        env = gymnasium.make(POINT, task=NORTH, horizon=2)
        env.reset()
        flags = [env.step(GO_EAST)[2:4] for _ in range(2)]
        assert flags == [(False, False), (False, True)]

    def test_reaching_the_goal_terminates_also_at_the_horizon(self):
        env = gymnasium.make(POINT, task=NORTH, horizon=3)
        env.reset()
        flags = [env.step(GO_NORTH)[2:4] for _ in range(3)]
        assert flags == [(False, False), (False, False), (True, False)]
        sb3 = make_sb3("point", 2, tasks=[NORTH, EAST], horizon=3)
        sb3.reset()
        for _ in range(3):
            *_, done, infos = sb3.step(np.stack([GO_NORTH, GO_NORTH]))
        assert done.all() and [info["TimeLimit.truncated"] for info in infos] == [False, True]

    def test_max_episode_steps_is_the_horizon_of_a_vector_environment(self):
        env = gymnasium.make_vec(POINT, num_envs=2, max_episode_steps=2)
        env.reset(seed=0)
        flags = [env.step(np.zeros((2, 2), np.float32))[3].tolist() for _ in range(4)]
        assert flags == [[False] * 2, [True] * 2] * 2

    def test_a_lane_that_ends_starts_anew_on_its_task_while_others_go_on(self):
        env = gymnasium.make_vec(POINT, num_envs=2, tasks=[NORTH, EAST], horizon=5)
        env.reset(seed=0)
        actions = np.stack([GO_NORTH, GO_NORTH])
        for t in range(1, 9):
            obs, reward, terminated, truncated, info = env.step(actions)
            north, east = t % 3, t % 5  # steps into the present episodes
            np.testing.assert_allclose(obs, [[0, 0.1 * north], [0, 0.1 * east]], atol=1e-6)
            assert (terminated.tolist(), truncated.tolist()) == ([north == 0, False], [False, east == 0])
            assert reward[0] == pytest.approx(-((0.3 - 0.1 * (north or 3)) ** 2), abs=1e-6), "the task is kept"
            if north == 0 or east == 0:
                assert info["_final_obs"].tolist() == [north == 0, east == 0]
                final = [None if x is None else x.round(4).tolist() for x in info["final_obs"]]
                expected = ([0, 0.3] if north == 0 else None, [0, 0.5] if east == 0 else None)
                assert [x if x is None else pytest.approx(x) for x in expected] == final
            else:
                assert info == {}
        assert env.tasks == [NORTH, EAST]

    def test_a_set_task_waits_for_the_lanes_next_episode(self):
        env = gymnasium.make_vec(POINT, num_envs=2, tasks=[NORTH, EAST], horizon=5)
        env.reset()
        distances = []
        for t in range(7):
            if t == 1:
                env.set_tasks([EAST, NORTH])
            distances.append((-env.step(np.stack([GO_NORTH, GO_NORTH]))[1]).tolist())
        north = [(0.3 - 0.1 * t) ** 2 for t in range(6)]
        east = [0.3**2 + (0.1 * t) ** 2 for t in range(6)]
        first = north[1:4] + east[1:5]  # reaches its goal after 3 steps, and goes on with the new task
        second = east[1:6] + north[1:3]  # reaches the horizon after 5
        assert distances == [pytest.approx(pair, abs=1e-6) for pair in zip(first, second, strict=True)]

    def test_episode_statistics_are_right(self):
        env = RecordEpisodeStatistics(gymnasium.make_vec(POINT, num_envs=2, tasks=[NORTH, EAST], horizon=5))
        env.reset(seed=0)
        north = -(0.2**2 + 0.1**2)
        east = -sum(0.3**2 + (0.1 * t) ** 2 for t in range(1, 6))
        seen = {}
        for t in range(1, 11):
            *_, info = env.step(np.stack([GO_NORTH, GO_NORTH]))
            if "episode" in info:
                seen[t] = (info["_episode"].tolist(), info["episode"]["l"].tolist(), info["episode"]["r"])
        assert {t: (which, lengths) for t, (which, lengths, _) in seen.items()} == {
            3: ([True, False], [3, 0]),
            5: ([False, True], [0, 5]),
            6: ([True, False], [3, 0]),
            9: ([True, False], [3, 0]),
            10: ([False, True], [0, 5]),
        }
        assert seen[9][2] == pytest.approx([north, 0], abs=1e-5)
        assert seen[10][2] == pytest.approx([0, east], abs=1e-5)


class TestArrays:
    def test_what_was_handed_out_is_not_touched_again_nor_listened_to(self):
        one, many = gymnasium.make(POINT), gymnasium.make_vec(POINT, num_envs=2, horizon=2)
        action = np.full((2, 2), 0.5, np.float32)
        for env, single_action in ((one, action[0]), (many, action)):
            first, _ = env.reset(seed=0)
            first += 9
            second, *_ = env.step(single_action)
            assert np.allclose(second, 0.05)
            second -= 9
            third, *_, info = env.step(single_action)
            assert np.allclose(second, 0.05 - 9)
            if info:
                assert np.allclose(info["final_obs"][0], 0.1) and not third.any()
            else:
                assert np.allclose(third, 0.1)

    def test_an_environment_survives_pickle_and_deepcopy_in_the_middle_of_an_episode(self):
        env = TaskEnv("point", "semicircle", render_mode="rgb_array")
        env.reset(seed=1)
        env.step(GO_EAST)
        copies = [pickle.loads(pickle.dumps(env)), copy.deepcopy(env)]
        expected = env.step(GO_NORTH)
        env.reset(options={"resample_task": True})
        for other in copies:
            got = other.step(GO_NORTH)
            np.testing.assert_array_equal(got[0], expected[0])
            assert got[1:] == expected[1:]
            other.reset(options={"resample_task": True})
            assert other.task == env.task and np.array_equal(other.render(), env.render())


class TestRendering:
    def test_it_shows_the_present_episode(self):
        env = gymnasium.make(POINT, task=NORTH, render_mode="rgb_array", horizon=2)
        env.reset()
        start = env.render()
        env.step(GO_EAST)
        env.step(GO_EAST)
        end = env.render()
        env.reset()
        assert start.shape == (480, 480, 3) and start.dtype == np.uint8
        assert (start != end).any() and np.array_equal(start, env.render())

    def test_lanes_are_drawn_each_with_its_own_path(self):
        tasks = [NORTH, EAST]
        env = gymnasium.make_vec(POINT, num_envs=2, tasks=tasks, render_mode="rgb_array", horizon=5)
        alone = [gymnasium.make(POINT, task=task, render_mode="rgb_array", horizon=5) for task in tasks]
        for each in (env, *alone):
            each.reset()
        for _ in range(8):  # the first lane ends after 3 steps, the second after 5
            env.step(np.stack([GO_NORTH, GO_NORTH]))
            for one in alone:
                if any(one.step(GO_NORTH)[2:4]):
                    one.reset()
            for image, one in zip(env.render(), alone, strict=True):
                assert np.array_equal(image, one.render())
        assert len(env.lanes.path) == 4, "states of ended episodes are let go"

    def test_without_a_render_mode_no_states_are_kept(self):
        env = TaskVectorEnv("point", num_envs=2)
        env.reset()
        env.step(np.zeros((2, 2), np.float32))
        assert env.lanes.path == []

    def test_gymnasium_collects_frames(self):
        env = gymnasium.make(POINT, render_mode="rgb_array_list")
        env.reset(seed=0)
        env.step(GO_EAST)
        assert len(env.render()) == 2


def test_a_refused_reset_changes_nothing():
    env = running()
    before, task = env.lanes.generator.get_state(), env.task
    with pytest.raises(envs.InputError):
        env.reset(seed=5, options={"task": {"goal": [9, 9]}})
    assert torch.equal(before, env.lanes.generator.get_state()) and env.task == task and env.np_random_seed == 0
