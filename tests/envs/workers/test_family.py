"""Gymnasium environments as a family: the interface of Env, for any number of workers; faults in one sentence."""

from __future__ import annotations

import threading

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from walkers import Walk, apply, returns
from walks import FAULTS, TASKS, episodes, walk

import envs
from envs import EnvironmentFault, InputError
from envs.adapters.gym import TaskEnv, TaskVectorEnv
from envs.adapters.lanes import Lanes

LOCK = threading.Lock()


@pytest.fixture(scope="module")
def env():
    return walk()


def test_the_contract_of_a_family_holds(env):
    envs.check_env(env)


def test_episodes_are_those_of_plain_loops_until_they_terminate(env):
    generator = envs.task_generator(0, "train")
    task = env.sample_tasks(2, generator)
    state, obs = env.reset(task, 2, generator)
    lanes = [Walk() for _ in range(4)]
    for lane, one in enumerate(lanes):
        one.speed = env.task_to_dicts(task)[lane // 2]["speed"]
        first, _ = one.reset(seed=int(state.seed.flatten()[lane]))
        assert np.array_equal(first, obs.flatten(0, 1)[lane])
    ended = [False] * 4
    for _ in range(env.horizon):
        result = env.step(task, state, torch.full((2, 2), 2), generator)
        state = result.state
        for lane, one in enumerate(lanes):
            reward, terminated = float(result.reward.flatten()[lane]), bool(result.terminated.flatten()[lane])
            if ended[lane]:
                assert (reward, terminated) == (0.0, True)
                continue
            seen, right, ended[lane], _, _ = one.step(2)
            assert np.array_equal(seen, result.obs.flatten(0, 1)[lane])
            assert (reward, terminated) == (np.float32(right), ended[lane])
    assert all(ended)


def test_the_number_of_workers_changes_nothing(env):
    for one, other in zip(episodes(env), episodes(walk(workers=2)), strict=True):
        assert torch.equal(one, other)


def test_scores_are_those_of_the_info_of_an_episodes_last_step():
    env = walk(workers=2, scores={"steps": lambda info: info["t"], "half": lambda info: info["t"] / 2})
    generator = envs.task_generator(0, "train")
    task = env.sample_tasks(3, generator)
    state, _ = env.reset(task, 2, generator)
    seen, over, ran, actions = [state], torch.zeros(3, 2, dtype=torch.bool), torch.zeros(3, 2), torch.full((3, 2), 2)
    for _ in range(env.horizon):
        ran += ~over
        result = env.step(task, state, actions, generator)
        state, over = result.state, result.terminated
        seen.append(state)
    assert (ran < env.horizon).any()
    scores = env.scores(task, type(state).stack(seen, 1), actions, result.reward)
    assert set(scores) == {"steps", "half"} and scores["steps"].equal(ran) and scores["half"].equal(ran / 2)
    envs.check_env(env)


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (lambda info: info["success"], "the score 'success' raised KeyError: 'success'"),
        (lambda info: "no", "the score 'success' raised ValueError"),
        (lambda info: float("nan"), "step() returned nan as score"),
    ],
)
def test_a_score_that_is_no_number_is_told(score, words, sentence):
    with pytest.raises(EnvironmentFault) as error:
        episodes(walk(scores={"success": score}))
    assert words in sentence(error) and "on the task speed" in str(error.value)


def test_an_old_state_is_refused(env, sentence):
    generator = envs.task_generator(0, "train")
    task = env.sample_tasks(1, generator)
    old, _ = env.reset(task, 1, generator)
    action = torch.ones(1, 1, dtype=torch.int64)
    new = env.step(task, old, action, generator).state
    every = torch.ones(1, 1, dtype=torch.bool)
    for again in (
        lambda: env.step(task, old, action, generator),
        lambda: env.restart(every, task, old, old.obs, generator),
    ):
        with pytest.raises(InputError) as error:
            again()
        assert "cannot go back" in sentence(error)
    env.step(task, new, action, generator)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_names_the_task_and_what_happened(fault, sentence):
    make, words = FAULTS[fault]
    env = walk(make)
    with pytest.raises(EnvironmentFault) as error:
        episodes(env)
    assert words in sentence(error)
    assert f"{make.__name__}." in str(error.value) and "on the task speed " in str(error.value)


def test_after_a_fault_new_workers_start():
    env = walk(returns(reward=None))
    for _ in range(2):
        with pytest.raises(EnvironmentFault):
            episodes(env)
    assert episodes(env, steps=1)[0].shape == (2, 3, 2, 2)


def test_an_apply_that_raises_is_told(sentence):
    env = walk(apply=lambda env, task: task["mass"])
    with pytest.raises(EnvironmentFault) as error:
        episodes(env)
    assert "apply() raised KeyError: 'mass'" in sentence(error)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"make": lambda: 3}, "make() must return a gymnasium.Env, not an object of class int"),
        ({"make": lambda: gymnasium.make("Nothing-v0")}, "make() raised NameNotFound"),
        ({"make": lambda: LOCK and Walk()}, "cannot be pickled"),
        ({"make": "CartPole-v1"}, "make must be a function, not 'CartPole-v1'"),
        ({"make": lambda: gymnasium.make("CartPole-v1", max_episode_steps=5)}, "ends an episode after 5 steps"),
        ({"scores": {"success": "is_success"}}, "success must be a function, not 'is_success'"),
        ({"apply": None}, "Walk has no set_task or reset_task"),
        ({"tasks": None}, "Walk has no sample_tasks"),
        ({"tasks": {"speed": spaces.Box(-np.inf, 1.0)}}, "'speed' has no bounds to draw from"),
        ({"tasks": []}, "a list of at least one task, not []"),
        ({"tasks": [{"speed": 1.0}, {"mass": 1.0}]}, "a dict with the fields speed, not"),
    ],
    ids=lambda x: "" if isinstance(x, dict) else x[:30],
)
def test_bad_arguments_are_refused_before_a_worker_starts(options, words, sentence):
    with pytest.raises(InputError) as error:
        walk(**options)
    assert words in sentence(error)


class Told(Walk):
    """Observes a Dict, and acts in a Box of another shape."""

    observation_space = spaces.Dict(place=spaces.Discrete(5), parts=spaces.MultiBinary(2))
    action_space = spaces.Box(-1, 1, (1, 2), np.float64)

    def seen(self):
        return {"place": int(np.clip(round(self.x), -2, 2)) + 2, "parts": np.array([1, self.t % 2], np.int8)}

    def step(self, action):
        assert action.shape == (1, 2) and action.dtype == np.float64 and abs(action).max() <= 1
        return super().step(1 + action.sum())


def test_observations_are_flattened_and_actions_clipped():
    env = walk(Told)
    assert env.observation_space.shape == (7,) and env.action_space.shape == (2,)
    generator = envs.task_generator(0, "train")
    task = env.sample_tasks(1, generator)
    state, obs = env.reset(task, 1, generator)
    told = spaces.unflatten(Told.observation_space, obs.flatten().numpy())
    assert 1 <= told["place"] <= 3 and told["parts"].tolist() == [1, 0]
    env.step(task, state, torch.full((1, 1, 2), 7.0), generator)


def test_lanes_begin_anew_while_others_go_on():
    env = walk(horizon=4)
    lanes = Lanes(env, 3, [{"speed": speed} for speed in (0.5, 1.0, 1.5)])
    lanes.reset(seed=0)
    going = lanes.step(np.full(3, 1))[0]
    seen = lanes.begin(np.array([True, False, False]))
    assert np.array_equal(seen[1:], going[1:]) and seen[0, 1] == 0
    assert lanes.step(np.full(3, 1))[0][:, 1].tolist() == [1, 2, 2]


def test_gymnasium_and_sb3_have_it(monkeypatch):
    from gymnasium.utils.env_checker import check_env

    from envs.adapters.sb3 import make_sb3

    monkeypatch.setattr(envs.registry, "FAMILIES", {**envs.FAMILIES})
    envs.register("walk", envs.from_gymnasium(Walk, TASKS, apply, horizon=5))
    try:
        single = TaskEnv("walk", render_mode="rgb_array", workers=1)
        check_env(single, skip_render_check=True)
        assert single.render().shape == (480, 480, 3)
        several = TaskVectorEnv("walk", 3, workers=1)
        several.reset(seed=0)
        for _ in range(6):
            obs = several.step(several.action_space.sample())[0]
        assert obs.shape == (3, 2)
        assert make_sb3("walk", 2, seed=0, workers=1).reset().shape == (2, 2)
    finally:
        del gymnasium.registry["metarl/Walk-v0"]


def test_references_may_use_the_observation():
    env = walk(references={"home": lambda task, obs: 1 - obs[..., 0].sign().long()})
    task = env.sample_tasks(2, envs.task_generator(0, "train"))
    state, obs = env.reset(task, 2, envs.task_generator(1, "train"))
    act = env.references()["home"].act
    assert torch.equal(act(task, state, None, torch.Generator()), 1 - obs[..., 0].sign().long())
