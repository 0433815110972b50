"""One loop for every method: as `evaluate` plays, in Gymnasium's environments, saved and gone on with, and refused."""

from __future__ import annotations

import itertools

import gymnasium
import numpy as np
import pytest
import torch
from agents import EPISODES, FAMILIES, saved_run, stepped
from torch import Generator

import metarl
from envs import InputError
from metarl.backend.errors import NonFiniteError
from metarl.learning.rollout import Trajectory

GRADIENT = ["maml", "promp", "meta-sgd", "reptile"]
MEMORY = ["metanet", "meta-networks", "rl2", "varibad", "dpt"]
EVERY = [*GRADIENT, *MEMORY, "sb3-ppo"]
GOALS = {"point": {"goal": [0.3, 0.2]}, "gridworld": {"goal": [2, 1]}}


def gym(family="gridworld", num_envs=None, **options):
    fields = {name: value for name, value in vars(FAMILIES[family]).items() if name != "layout"}
    name = {"point": "metarl/Point-v0", "gridworld": "metarl/GridWorld-v0"}[family]
    if num_envs is None:
        return gymnasium.make(name, task=GOALS[family], **{**fields, **options})
    return gymnasium.make_vec(name, num_envs=num_envs, tasks=[GOALS[family]] * num_envs, **{**fields, **options})


def play(learner, env, num_episodes):
    """The loop of the documentation; gives the actions."""
    actions = []
    for _ in range(num_episodes):
        obs, _ = env.reset()
        done = False
        while not done:
            action = learner.act(obs)
            obs, reward, terminated, truncated, _ = env.step(action)
            learner.observe(obs, reward, terminated, truncated)
            done = terminated or truncated
            actions.append(action)
    return np.stack(actions)


def play_vector(learner, env, num_steps):
    obs, _ = env.reset(seed=0)
    for _ in range(num_steps):
        obs, reward, terminated, truncated, info = env.step(learner.act(obs))
        learner.observe(obs, reward, terminated, truncated, info)


@pytest.mark.parametrize(("method", "family"), [*itertools.product([*GRADIENT, *MEMORY], FAMILIES), ("pearl", "point")])
def test_a_learner_plays_step_for_step_as_evaluation_does(tmp_path, method, family):
    run = saved_run(tmp_path, method, family)
    task = run.env.sample_tasks(1, Generator().manual_seed(0))
    stages = run.algorithm.stages(*([2] if method in GRADIENT else []))
    played = run.algorithm.play(run.env, 4, Generator().manual_seed(5), stages)(task, False)
    learner = metarl.load(tmp_path).begin(num_envs=4, seed=5, num_steps=2 if method in GRADIENT else None)
    found, expected = stepped(learner, run.env, task, EPISODES), Trajectory.cat(played, 1)
    for name in ("obs", "action", "reward", "first"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-5)
    assert learner.policy.steps_taken == (2 if method in GRADIENT else 0)


@pytest.mark.parametrize("method", EVERY)
def test_the_loop_of_the_documentation_runs(tmp_path, method):
    saved_run(tmp_path, method)
    agent, env = metarl.load(str(tmp_path)), gym()
    agent.check_env(env)
    learner = agent.begin(seed=1, **({} if method in MEMORY else {"episodes_per_step": 2, "num_steps": 1}))
    actions = play(learner, env, EPISODES)
    assert learner.policy.steps_taken == (0 if method in MEMORY else 1)
    assert np.array_equal(actions, play(agent.begin(seed=1, episodes_per_step=None if method in MEMORY else 2), env, 3))
    if method in MEMORY:
        learner.adapt()  # does nothing


@pytest.mark.parametrize("method", EVERY)
def test_lanes_of_a_vector_environment_learn_together(tmp_path, method):
    saved_run(tmp_path, method)
    agent, env = metarl.load(tmp_path), gym(num_envs=4)
    agent.check_env(env)
    learner = agent.begin(num_envs=4)
    play_vector(learner, env, EPISODES * 6)
    assert learner.policy.steps_taken == (0 if method in MEMORY else 3), "as many episodes as in training, 4"


@pytest.mark.parametrize("method", [*EVERY, "pearl"])
def test_a_saved_learner_goes_on_as_if_it_had_not_been_saved(tmp_path, method):
    saved_run(tmp_path / "run", method, "point")
    trial = method in (*MEMORY, "pearl")
    env, options = gym("point"), {} if trial else {"episodes_per_step": 1, "num_steps": 2}
    learner = metarl.load(tmp_path / "run").begin(seed=3, **options)
    play(learner, env, 1)
    obs, _ = env.reset()
    obs, reward, terminated, truncated, _ = env.step(learner.act(obs))
    learner.observe(obs, reward, terminated, truncated)  # in the middle of an episode
    learner.save(tmp_path / "kept" / "adapted.pt")
    again = metarl.load(tmp_path / "kept" / "adapted.pt").begin()
    for _ in range(5):
        actions = [x.act(obs) for x in (learner, again)]
        assert np.array_equal(*actions)
        obs, reward, terminated, truncated, _ = env.step(actions[0])
        for x in (learner, again):
            x.observe(obs, reward, terminated, truncated)
    assert truncated and again.policy.steps_taken == learner.policy.steps_taken == (0 if trial else 2)
    assert np.array_equal(play(learner, env, 1), play(again, env, 1))
    if not trial:
        with pytest.raises(InputError, match="num_steps=2"):
            metarl.load(tmp_path / "kept" / "adapted.pt").begin(num_steps=5)


def test_the_most_probable_action_needs_no_random_numbers(tmp_path):
    saved_run(tmp_path, "maml", "point")
    agent, obs = metarl.load(tmp_path), np.array([0.1, 0.2])
    first, second = (agent.begin(seed=seed).act(obs, deterministic=True) for seed in (1, 2))
    assert np.array_equal(first, second) and not np.array_equal(agent.begin(seed=1).act(obs), first)
    assert np.abs(first).max() <= 1 and first.dtype == np.float32


def test_adapt_forces_a_step_on_the_finished_episodes(tmp_path, sentence):
    saved_run(tmp_path, "maml")
    learner = metarl.load(tmp_path).begin(num_steps=1)
    with pytest.raises(InputError, match="finished episodes"):
        learner.adapt()
    play(learner, gym(), 2)
    before = learner.policy.params
    learner.adapt()
    assert not torch.equal(learner.policy.params, before)
    with pytest.raises(InputError) as error:
        learner.adapt()
    assert "num_steps" in sentence(error)


def test_a_step_that_leaves_no_policy_is_not_taken(tmp_path):
    saved_run(tmp_path, "maml")
    learner = metarl.load(tmp_path).begin(episodes_per_step=1)
    learner.policy.adapters = [lambda params, memory, trajectory: (params * torch.nan, memory)] * 3
    before = learner.policy.params
    with pytest.raises(NonFiniteError):
        play(learner, gym(), 1)
    assert learner.policy.params is before and learner.policy.steps_taken == 0


MISTAKES = {
    "observe before act": (lambda x: x.observe(np.zeros(2), 0.0, False, False), "act"),
    "act twice": (lambda x: (x.act(np.zeros(2)), x.act(np.zeros(2))), "observe"),
    "another shape": (lambda x: x.act(np.zeros(4)), "(2,)"),
    "not finite": (lambda x: x.act(np.full(2, np.nan)), "obs"),
    "no numbers": (lambda x: x.act("there"), "obs"),
    "rewards of two lanes": (lambda x: (x.act(np.zeros(2)), x.observe(np.zeros(2), [0, 1], False, False)), "reward"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong_calls_are_refused_in_one_sentence(tmp_path, mistake, sentence):
    saved_run(tmp_path, "rl2")
    call, words = MISTAKES[mistake]
    with pytest.raises(InputError) as error:
        call(metarl.load(tmp_path).begin())
    assert words in sentence(error)


def test_a_trial_longer_than_the_policy_was_made_for_is_refused(tmp_path, sentence):
    saved_run(tmp_path, "metanet")
    agent = metarl.load(tmp_path)
    with pytest.raises(InputError) as error:
        play(agent.begin(), gym(), EPISODES + 1)
    assert f"{EPISODES} episodes" in sentence(error)
    with pytest.raises(InputError) as error:
        play(agent.begin(), gym(horizon=7), 1)
    assert "6 steps" in sentence(error)


def test_steps_that_a_method_does_not_take_are_refused(tmp_path, sentence):
    saved_run(tmp_path / "rl2", "rl2")
    saved_run(tmp_path / "maml", "maml")
    memory, gradient = (metarl.load(tmp_path / name) for name in ("rl2", "maml"))
    for agent, options in (
        (memory, {"episodes_per_step": 2}),
        (memory, {"num_steps": 2}),
        (gradient, {"num_envs": 2, "episodes_per_step": 3}),
        (gradient, {"num_envs": 0}),
    ):
        with pytest.raises(InputError) as error:
            agent.begin(**options)
        sentence(error)
