"""The Gymnasium and Stable-Baselines3 faces: over every family and preset, they agree with the torch interface."""

import copy
import json
import pickle
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.vec_env import VecMonitor
from torch import Generator

import envs
from envs.adapters.checks import check_action
from envs.adapters.gym import TaskEnv, TaskVectorEnv
from envs.adapters.lanes import stream_seeds
from envs.adapters.sb3 import TaskVecEnv, make_sb3

POINT = "metarl/Point-v0"
NORTH, EAST = {"goal": [0.0, 0.3]}, {"goal": [0.3, 0.0]}
GO_NORTH, GO_EAST = np.array([0, 1], np.float32), np.array([1, 0], np.float32)


def single(family, preset, **options) -> gymnasium.Env:
    return gymnasium.make(envs.FAMILIES[family].gym_id, preset=preset, **options)


def vector(family, preset, num_envs, **options) -> TaskVectorEnv:
    return gymnasium.make_vec(envs.FAMILIES[family].gym_id, num_envs=num_envs, preset=preset, **options)


def short_episodes(family, preset) -> dict[str, int]:
    """Fields of the configuration that keep episodes, and so tests over several of them, short."""
    return {"horizon": 40} if getattr(envs.make_config(family, preset), "horizon", 0) > 40 else {}


def some_actions(env: envs.Env, steps: int, lanes: int, seed: int = 0) -> np.ndarray:
    """[steps, lanes, A] within the action space."""
    space = gymnasium.vector.utils.batch_space(env.action_space, lanes)
    space.seed(seed)
    return np.stack([space.sample() for _ in range(steps)])


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


def torch_episodes(env, tasks, actions, seed):
    """What the torch interface gives for one lane, as (obs after the step, reward, terminated, truncated)."""
    task, generator = env.task_from_dicts(tasks), Generator().manual_seed(stream_seeds(seed)[1])
    state, _ = env.reset(task, 1, generator)
    t, steps = 0, []
    for action in actions:
        result = env.step(task, state, torch.as_tensor(action)[:, None], generator)
        state, t = result.state, t + 1
        terminated = result.terminated.item()
        truncated = t == env.horizon and not terminated
        steps.append((result.obs[0, 0].numpy().copy(), result.reward.item(), terminated, truncated))
        if terminated or truncated:
            (state, _), t = env.reset(task, 1, generator), 0
    return steps


class TestEveryFamily:
    @pytest.mark.filterwarnings("error")
    def test_gymnasium_has_no_complaint(self, family, preset):
        check_env(single(family, preset, render_mode="rgb_array").unwrapped)

    @pytest.mark.filterwarnings("error")
    def test_stable_baselines3_has_no_complaint(self, family, preset):
        sb3_check_env(single(family, preset, render_mode="rgb_array").unwrapped, skip_render_check=False)

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

    def test_one_lane_is_the_same_through_all_four_faces(self, family, preset):
        short = short_episodes(family, preset)
        env = envs.make(family, preset, **short)
        tasks = env.task_to_dicts(env.sample_tasks(1, Generator().manual_seed(3)))
        actions = some_actions(env, 2 * env.horizon + 5, 1)
        expected = torch_episodes(env, tasks, actions, seed=7)
        assert any(terminated or truncated for *_, terminated, truncated in expected)

        one, many = single(family, preset, task=tasks[0], **short), vector(family, preset, 1, tasks=tasks, **short)
        sb3 = make_sb3(family, 1, preset, tasks, seed=7, **short)
        first, _ = one.reset(seed=7)
        np.testing.assert_array_equal(many.reset(seed=7)[0], first[None])
        np.testing.assert_array_equal(sb3.reset(), first[None])
        for action, (obs, reward, terminated, truncated) in zip(actions, expected, strict=True):
            got = one.step(action[0])
            np.testing.assert_array_equal(got[0], obs)
            assert got[1:] == (reward, terminated, truncated, {})
            assert [type(x) for x in got[1:4]] == [float, bool, bool]
            vector_obs, *vector_rest, info = many.step(action)
            sb3_obs, sb3_reward, done, (sb3_info,) = sb3.step(action)
            assert [x.tolist() for x in vector_rest] == [[reward], [terminated], [truncated]]
            assert (sb3_reward.item(), done.item()) == (reward, terminated or truncated)
            assert sb3_info.pop("TimeLimit.truncated") is truncated
            if terminated or truncated:
                np.testing.assert_array_equal(info["final_obs"][0], obs)
                np.testing.assert_array_equal(sb3_info["terminal_observation"], obs)
                obs, _ = one.reset()
            else:
                assert info == sb3_info == {}
            np.testing.assert_array_equal(vector_obs, obs[None])
            np.testing.assert_array_equal(sb3_obs, obs[None])

    def test_many_lanes_are_the_same_through_the_batched_faces(self, family, preset):
        short = short_episodes(family, preset)
        env = envs.make(family, preset, **short)
        task = env.sample_tasks(5, Generator().manual_seed(3))
        actions = some_actions(env, 2 * env.horizon + 5, 5)
        many = vector(family, preset, 5, tasks=env.task_to_dicts(task), **short)
        sb3 = make_sb3(family, 5, preset, env.task_to_dicts(task), seed=7, **short)
        generator = Generator().manual_seed(stream_seeds(7)[1])
        state, first = env.reset(task, 1, generator)
        np.testing.assert_array_equal(many.reset(seed=7)[0], first[:, 0])
        np.testing.assert_array_equal(sb3.reset(), first[:, 0])
        ended = False
        for action in actions:
            obs, reward, terminated, truncated, _ = many.step(action)
            sb3_obs, sb3_reward, done, _ = sb3.step(action)
            ended |= bool(done.any())
            np.testing.assert_array_equal(obs, sb3_obs)
            np.testing.assert_array_equal(reward, sb3_reward)
            np.testing.assert_array_equal(terminated | truncated, done)
            if not ended:
                result = env.step(task, state, torch.as_tensor(action)[:, None], generator)
                state = result.state
                np.testing.assert_array_equal(obs, result.obs[:, 0])
                np.testing.assert_array_equal(reward, result.reward[:, 0])
        assert ended

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

    def test_tasks_travel_as_json_and_pickle(self, family, preset):
        env = single(family, preset).unwrapped
        for task in env.sample_tasks(3, seed=5):
            for through in (json.loads(json.dumps(task)), pickle.loads(pickle.dumps(task))):
                assert through == task == single(family, preset, task=through).unwrapped.task
                env.set_task(through)
                assert env.task == task

    def test_a_seed_determines_the_task_of_each_lane(self, family, preset):
        def drawn(seed):
            env = single(family, preset)
            env.reset(seed=seed)
            return env.unwrapped.task

        expected = [drawn(20 + i) for i in range(4)]
        for num_envs in (2, 4):
            env, sb3 = vector(family, preset, num_envs), make_sb3(family, num_envs, preset, seed=20)
            env.reset(seed=20)
            sb3.reset()
            assert env.tasks == sb3.get_attr("task") == expected[:num_envs]
        assert expected[0] != expected[1] or len({json.dumps(task) for task in expected}) > 1

    def test_the_split_is_a_sampling_option(self, family, preset):
        env = single(family, preset).unwrapped
        for split in env.lanes.env.splits:
            direct = envs.make(family, preset)
            expected = direct.task_to_dicts(direct.sample_tasks(4, envs.task_generator(9, split), split))
            assert env.sample_tasks(4, seed=9, split=split) == expected

    def test_one_seed_draws_different_tasks_in_different_splits(self, family, preset):
        env = single(family, preset).unwrapped
        train, test = (env.sample_tasks(30, seed=3, split=split) for split in ("train", "test"))
        assert train != test

    def test_global_random_generators_are_left_alone(self, family, preset):
        torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        env, sb3 = vector(family, preset, 2), make_sb3(family, 2, preset)
        single(family, preset).reset()
        env.reset()
        env.reset(seed=1)
        env.sample_tasks(1)
        sb3.reset()
        assert torch.equal(torch_state, torch.get_rng_state())
        assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_on_a_gpu_the_faces_are_numpy_too(self, family, preset):
        env = vector(family, preset, 3, device="cuda", render_mode="rgb_array")
        obs, _ = env.reset(seed=1)
        for action in some_actions(env.lanes.env, env.lanes.env.horizon + 1, 3):
            obs, *_ = env.step(action)
        assert isinstance(obs, np.ndarray) and env.observation_space.contains(obs) and len(env.render()) == 3
        assert json.dumps(env.tasks)


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

    @pytest.mark.parametrize("face", ["single", "vector", "sb3"])
    @pytest.mark.parametrize("family", ["half-cheetah-vel", "walker2d-params"])
    def test_a_robot_that_has_moved_does_too(self, family, face):
        """Its engine holds what no pickle takes. The second family has bodies of its own for each lane."""
        faces = {
            "single": lambda: TaskEnv(family),
            "vector": lambda: TaskVectorEnv(family, 2),
            "sb3": lambda: make_sb3(family, 2, seed=1),
        }
        env = faces[face]()
        env.reset(**({} if face == "sb3" else {"seed": 1}))
        lanes = (2,) if face == "sb3" else ()
        actions = np.random.default_rng(0).uniform(-1, 1, (12, *lanes, *env.action_space.shape)).astype(np.float32)
        for action in actions[:4]:
            env.step(action)
        copies = [pickle.loads(pickle.dumps(env)), copy.deepcopy(env)]
        for action in actions[4:]:
            expected = env.step(action)
            for other in copies:
                for got, wanted in zip(other.step(action)[:3], expected[:3], strict=True):
                    np.testing.assert_array_equal(got, wanted)


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


class TestStableBaselines3:
    def test_each_lane_takes_its_task_from_its_next_episode_on(self):
        env = make_sb3("point", 3, tasks=[NORTH] * 3, horizon=2)
        env.reset()
        env.env_method("set_task", EAST, indices=1)
        env.env_method("set_task", EAST, indices=[-1])
        assert env.get_attr("task") == [NORTH, EAST, EAST] and env.get_attr("task", 1) == [EAST]
        actions = np.stack([GO_NORTH] * 3)
        rewards = [env.step(actions)[1].tolist() for _ in range(3)]
        assert rewards[0] == pytest.approx([-(0.2**2)] * 3, abs=1e-6)
        assert rewards[2] == pytest.approx([-(0.2**2)] + [-(0.3**2 + 0.1**2)] * 2, abs=1e-6)

    def test_seed_and_options_are_used_once(self):
        env = make_sb3("point", 2, seed=3)
        env.reset()
        first = env.get_attr("task")
        env.reset()
        assert env.get_attr("task") == first
        env.set_options([{}, {"resample_task": True}])
        env.reset()
        second = env.get_attr("task")
        assert second[0] == first[0] and second[1] != first[1]
        env.reset()
        assert env.get_attr("task") == second
        env.set_options({"task": EAST})
        env.reset()
        assert env.get_attr("task") == [EAST, EAST]
        assert env.seed(3) == [3, 4]
        env.set_options({"resample_task": True})
        env.reset()
        assert env.get_attr("task") == first

    def test_it_is_a_vec_env_to_wrappers_and_algorithms(self):
        env = VecMonitor(make_sb3("point", 4, "semicircle", seed=0))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = PPO("MlpPolicy", env, n_steps=25, batch_size=50, n_epochs=1, seed=0, device="cpu")
            model.learn(100)
        assert [episode["l"] for episode in model.ep_info_buffer] == [20] * 4

    def test_it_renders_a_tile_for_each_lane(self):
        env = make_sb3("point", 4, tasks=[NORTH, EAST] * 2, render_mode="rgb_array")
        env.reset()
        image = env.render()
        assert image.shape == (960, 960, 3) and (image[:480, :480] != image[:480, 480:]).any()
        assert env.metadata["render_fps"] == 20

    def test_it_knows_what_it_has(self):
        env = TaskVecEnv(envs.make("point"), 2)
        assert env.has_attr("task") and not env.has_attr("goal")
        assert env.env_is_wrapped(gymnasium.Wrapper) == [False, False]
        assert env.env_method("sample_tasks", 2, seed=1, split="ood", indices=0) == [
            TaskEnv("point").sample_tasks(2, seed=1, split="ood")
        ]
        with pytest.raises(AttributeError, match="set_task"):
            env.set_attr("task", EAST)
        env.close()


def running(**options) -> TaskEnv:
    env = TaskEnv("point", **options)
    env.reset(seed=0)
    return env


def running_vector(**options) -> TaskVectorEnv:
    env = TaskVectorEnv("point", num_envs=2, **options)
    env.reset(seed=0)
    return env


def after_the_end():
    env = running(horizon=1)
    env.step(GO_EAST)
    env.step(GO_EAST)


WRONG = {
    "preset": (lambda: gymnasium.make(POINT, preset="fin2017"), "Unknown preset of 'point' 'fin2017'. Did you mean"),
    "field": (lambda: gymnasium.make(POINT, horizn=3), "Unknown field of 'point' 'horizn'. Did you mean 'horizon'?"),
    "vector field": (lambda: gymnasium.make_vec(POINT, goal_scal=1), "Unknown field of 'point' 'goal_scal'. Did"),
    "sb3 id": (lambda: make_sb3("pont", 2), "Unknown environment 'pont'. Did you mean 'point'?"),
    "task": (lambda: gymnasium.make(POINT, task={"gaol": [0, 0]}), "Unknown task field 'gaol'. Did you mean 'goal'?"),
    "task value": (lambda: running().set_task({"goal": [0, 9]}), "The task field 'goal' must lie in"),
    "tasks of one": (lambda: gymnasium.make(POINT, tasks=[NORTH]), "A single environment takes task={...}"),
    "task of many": (lambda: gymnasium.make_vec(POINT, task=NORTH), "A vector environment takes tasks=[...]"),
    "count": (
        lambda: gymnasium.make_vec(POINT, num_envs=3, tasks=[NORTH]),
        "There must be one task for each of the 3 lanes, not",
    ),
    "sb3 count": (
        lambda: make_sb3("point", 1, tasks=[NORTH, EAST]),
        "There must be one task for each of the 1 lanes, not",
    ),
    "set count": (lambda: running_vector().set_tasks([]), "There must be one task for each of the 2 lanes, not 0"),
    "tasks": (lambda: gymnasium.make_vec(POINT, tasks=NORTH), "tasks must be a list of dicts, not {'goal'"),
    "lanes": (lambda: gymnasium.make_vec(POINT, num_envs=0), "num_envs must be at least 1, not 0."),
    "render mode": (lambda: TaskEnv("point", render_mode="human"), "render_mode must be None or 'rgb_array', not"),
    "max steps": (lambda: gymnasium.make_vec(POINT, max_episode_steps=0), "horizon must be at least 1 step, not 0."),
    "seed": (lambda: running().reset(seed=-1), "seed must be a whole number from 0 to 2**62, not -1."),
    "seed type": (lambda: running_vector().reset(seed="1"), "seed must be a whole number from 0 to 2**62, not '1'."),
    "split": (lambda: running().sample_tasks(1, split="tran"), "Unknown split 'tran'. Did you mean 'train'?"),
    "number": (lambda: running().sample_tasks(0), "The number of tasks must be at least 1, not 0."),
    "number type": (lambda: running().sample_tasks(1.5), "The number of tasks must be at least 1, not 1.5."),
    "option": (lambda: running().reset(options={"taks": NORTH}), "Unknown reset option 'taks'. Did you mean 'task'?"),
    "vector option": (lambda: running_vector().reset(options={"task": NORTH}), "Unknown reset option 'task'. Did you"),
    "options": (
        lambda: running().reset(options={"task": NORTH, "resample_task": True}),
        "Give one of the reset options 'task' and 'resample_task', not both.",
    ),
    "resample": (
        lambda: running().reset(options={"resample_task": "yes"}),
        "The reset option 'resample_task' must be True or False, not 'yes'.",
    ),
    "shape": (lambda: running().step([0.0]), "An action must have the shape (2,), not (1,)."),
    "vector shape": (lambda: running_vector().step(GO_EAST), "An action must have the shape (2, 2), not (2,)."),
    "ragged": (lambda: running().step([[0.0], 1.0]), "An action must be numbers of shape (2,), not a list."),
    "word": (lambda: running().step("east"), "An action must be numbers of shape (2,), not a str."),
    "none": (lambda: running().step(None), "An action must be numbers of shape (2,), not a NoneType."),
    "nan": (lambda: running().step([0.0, np.nan]), "An action must be finite numbers, and this one is not."),
    "infinity": (lambda: running().step([0.0, 1e300]), "An action must be finite numbers, and this one is not."),
    "no reset": (lambda: TaskEnv("point").step(GO_EAST), "No episode is running; call reset() before step()."),
    "vector no reset": (
        lambda: TaskVectorEnv("point").step([GO_EAST]),
        "No episode is running; call reset() before step().",
    ),
    "ended": (after_the_end, "No episode is running; call reset() before step()."),
    "render": (lambda: running().render(), "Make the environment with render_mode='rgb_array' to render it."),
    "render early": (lambda: TaskEnv("point", render_mode="rgb_array").render(), "There is nothing to render yet;"),
    "sb3 action": (lambda: make_sb3("point", 1).step(np.zeros(2)), "An action must have the shape (1, 2), not (2,)."),
}


@pytest.mark.parametrize(("call", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_input_is_answered_in_one_sentence(call, said):
    with pytest.raises(envs.InputError) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(said) and message.endswith(".") and "\n" not in message


@pytest.mark.parametrize("action", [2, np.int32(2), np.array(2)])
def test_a_discrete_action_is_a_whole_number(action):
    checked = check_action(spaces.Discrete(3), action)
    assert checked.dtype == np.int64 and checked.shape == () and checked == 2
    for wrong, said in {
        3: "from 0 to 2",
        -1: "from 0 to 2",
        1.0: "from 0 to 2",
        (1,): r"the shape \(\), not \(1,\)",
    }.items():
        with pytest.raises(envs.InputError, match=said):
            check_action(spaces.Discrete(3), wrong)
    assert check_action(spaces.Discrete(3), [0, 2], 2).tolist() == [0, 2]


def test_a_refused_reset_changes_nothing():
    env = running()
    before, task = env.lanes.generator.get_state(), env.task
    with pytest.raises(envs.InputError):
        env.reset(seed=5, options={"task": {"goal": [9, 9]}})
    assert torch.equal(before, env.lanes.generator.get_state()) and env.task == task and env.np_random_seed == 0


def test_box_actions_beyond_the_bounds_are_clipped():
    env = running(task=NORTH)
    assert env.step(10 * GO_EAST)[0].tolist() == pytest.approx([0.1, 0.0])
