"""The Stable-Baselines3 face."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
from faces import EAST, GO_NORTH, NORTH, single
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.vec_env import VecMonitor

import envs
from envs.adapters.gym import TaskEnv
from envs.adapters.sb3 import TaskVecEnv, make_sb3


class TestEveryFamily:
    @pytest.mark.filterwarnings("error")
    def test_stable_baselines3_has_no_complaint(self, family, preset):
        sb3_check_env(single(family, preset, render_mode="rgb_array").unwrapped, skip_render_check=False)


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
