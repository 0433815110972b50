"""All faces agree with the torch interface and with each other, over every family and preset."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from faces import single, some_actions, vector
from torch import Generator

import envs
from envs.adapters.gym import TaskEnv, TaskVectorEnv
from envs.adapters.lanes import stream_seeds
from envs.adapters.sb3 import make_sb3


def short_episodes(family, preset) -> dict[str, int]:
    """Fields of the configuration that keep episodes, and so tests over several of them, short."""
    return {"horizon": 40} if getattr(envs.make_config(family, preset), "horizon", 0) > 40 else {}


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


class TestArrays:
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
