"""Benchmarks of the real package as families: its tasks, what each split holds out, and what is refused."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
import torch

import envs
from envs import InputError

package = pytest.importorskip("metaworld", reason="pip install --no-deps metaworld==3.1.1")
from envs.extras.metaworld.benchmarks import family_of  # noqa: E402
from envs.extras.metaworld.sawyer import load  # noqa: E402


@pytest.fixture(autouse=True)
def few_goals(monkeypatch, asked):
    """Drawing 50 of each task takes seconds."""
    monkeypatch.setattr(package, "_N_GOALS", 3)
    family_of.cache_clear()
    yield
    family_of.cache_clear()


def tasks(env, split, n=3):
    return env.task_to_dicts(env.sample_tasks(n, envs.task_generator(0, split), split))


def played(env):
    """Scores of an episode on a task, as an evaluation reports them."""
    generator = torch.Generator().manual_seed(0)
    task, action = env.sample_tasks(1, generator), torch.zeros(1, 1, 4)
    states = [env.reset(task, 1, generator)[0]]
    for _ in range(env.horizon):
        result = env.step(task, states[-1], action, generator)
        states.append(result.state)
    return env.scores(task, type(result.state).stack(states, 1), action, result.reward)


def test_ml1_has_the_goals_of_metaworld_others_in_each_split_and_keeps_the_contract():
    env = envs.make("metaworld-ml1", task="push-v3", goals_seed=4, workers=1, horizon=5)
    right = load().ML1("push-v3", seed=4)
    for split, theirs in {"train": right.train_tasks, "test": right.test_tasks}.items():
        here = sorted(task["rand_vec"] for task in tasks(env, split))
        there = sorted(pickle.loads(task.data)["rand_vec"].tolist() for task in theirs)
        assert np.allclose(here, there)
    every = [tuple(task["rand_vec"]) for split in env.splits for task in tasks(env, split)]
    assert len(set(every)) == 9 and env.observation_space.high[-3:].tolist() == [0, 0, 0]
    envs.check_env(env, num_tasks=2, num_envs=1, num_steps=5, images=False)
    assert played(env)["success"].tolist() == [[0.0]]


def test_a_set_of_ones_own_is_tested_on_other_tasks():
    env = envs.make("metaworld-custom", train=("reach-v3", "push-v3"), test=("door-close-v3",))
    kinds = {split: {task["kind"] for task in tasks(env, split, 6)} for split in env.splits}
    assert kinds == {"train": {0, 1}, "validation": {0, 1}, "test": {2}}
    assert all(task["rand_vec"][3:] == [0, 0, 0] for task in tasks(env, "test"))
    assert "door-close-v3" in env.splits["test"]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("ml1", {"task": "reach"}, "Did you mean 'reach-v3'?"),
        ("ml1", {"horizon": 501}, "horizon must be at least 1 and at most 500"),
        ("custom", {"train": ("reach-v3",), "test": ("reach-v3",)}, "test must hold other tasks than train"),
        ("custom", {"train": ()}, "must each name at least one task"),
    ],
)
def test_bad_options_are_refused(name, options, words, sentence):
    with pytest.raises(InputError) as error:
        envs.make(f"metaworld-{name}", **options)
    assert words in sentence(error)


def test_other_versions_are_refused(monkeypatch, sentence):
    monkeypatch.setattr("envs.extras.metaworld.sawyer.METAWORLD", "4.0")
    with pytest.raises(InputError) as error:
        envs.make("metaworld-ml10")
    assert "metaworld 4.0 on mujoco" in sentence(error)


def test_without_the_package_the_command_is_named(asked, monkeypatch, sentence):
    monkeypatch.setitem(sys.modules, "metaworld", None)
    with pytest.raises(InputError) as error:
        envs.make("metaworld-ml1")
    assert "pip install --no-deps metaworld==3.1.1" in sentence(error)
