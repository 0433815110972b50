"""Where tasks come from: spaces, lists, contexts by id, functions, and environments that have their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from walkers import Walk
from walks import episodes, walk

import envs
from envs import InputError
from envs.workers.tasks import tasks_of


def drawn(env, n=200, split="train", seed=0):
    return env.task_to_dicts(env.sample_tasks(n, envs.task_generator(seed, split), split))


def test_spaces_are_drawn_from_uniformly_in_each_split():
    env = walk(tasks={"train": {"speed": spaces.Box(0.5, 1.0)}, "ood": {"speed": spaces.Box(1.0, 2.0)}})
    assert list(env.splits) == ["train", "validation", "test", "ood"]
    assert env.task_space["speed"] == spaces.Box(0.5, 2.0, (), np.float32)
    for split, (low, high) in {"train": (0.5, 1.0), "test": (0.5, 1.0), "ood": (1.0, 2.0)}.items():
        speeds = [task["speed"] for task in drawn(env, split=split)]
        assert low <= min(speeds) < low + 0.1 and high - 0.1 < max(speeds) <= high
    assert drawn(env) != drawn(env, split="test") and drawn(env) == drawn(env)


def test_a_list_is_drawn_from_equally_often():
    env = walk(tasks=[{"speed": 1.0, "start": [0, 1]}, {"speed": 2.0, "start": [1, 0]}])
    speeds = [task["speed"] for task in drawn(env, 10)]
    assert sorted(speeds) == [1.0] * 5 + [2.0] * 5
    assert env.task_space["start"].shape == (2,)
    envs.check_env(walk(tasks=[{"speed": 1.0}, {"speed": 2.0}]))


def test_contexts_by_id_are_a_list():
    contexts = {0: {"speed": 1.0}, 1: {"speed": 2.0}}
    assert {task["speed"] for task in drawn(walk(tasks=contexts), 4)} == {1.0, 2.0}


def test_objects_are_counted_and_handed_to_the_environment():
    held = {"train": [b"slow", b"fast"], "test": [b"other"]}
    env = walk(
        tasks=held, apply=lambda env, task: setattr(env, "speed", {b"slow": 0.5, b"fast": 1.5, b"other": 9}[task])
    )
    assert env.task_space == spaces.Dict(index=spaces.Discrete(3))
    assert {task["index"] for task in drawn(env)} == {0, 1} and drawn(env, 1, "test") == [{"index": 2}]
    episodes(env, split="test")
    envs.check_env(env)


def test_a_function_draws_with_the_generator_it_is_given():
    env = walk(tasks=None, sample_tasks=lambda n, rng: [{"speed": float(x)} for x in rng.uniform(0.5, 1.5, n)])
    envs.check_env(env)
    assert drawn(env) == drawn(env) != drawn(env, seed=1)


class Own(Walk):
    """As learn2learn, RLlib and pytorch-maml-rl write it."""

    def sample_tasks(self, num_tasks):
        return [{"speed": x} for x in self.np_random.uniform(0.5, 1.5, num_tasks)]

    def set_task(self, task):
        self.speed = task["speed"]


class Plain(Own):
    """Its tasks are numbers, and it draws them from numpy's global stream."""

    def sample_tasks(self, n_tasks):
        return np.random.uniform(0.5, 1.5, n_tasks)  # noqa: NPY002

    def set_task(self, task):
        self.speed = task


@pytest.mark.parametrize("make", [Own, Plain])
def test_an_environment_may_have_its_own(make):
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    env = walk(make, tasks=None, apply=None)
    envs.check_env(env)
    assert drawn(env) == drawn(env) != drawn(env, seed=1)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


@pytest.mark.parametrize(
    ("given", "sample", "words"),
    [
        ({"train": [{"a": 1.0}], "holdout": []}, None, "not 'holdout'"),
        ({"a": spaces.Text(3)}, None, "'a' must be a Box or of choices"),
        ({"train": {"a": spaces.Box(0, 1)}, "test": [{"a": 1.0}]}, None, "are spaces, or those of all are lists"),
        ({"train": {"a": spaces.Box(0, 1)}, "test": {"b": spaces.Box(0, 1)}}, None, "must have the same fields"),
        ([{"a": "x"}], None, "'a' must hold numbers of one shape"),
        (None, lambda n, rng: [], "must return 20 tasks, not 0"),
        (None, lambda n, rng: 1 / 0, "sample_tasks(20) raised ZeroDivisionError"),
        ({"a": spaces.Box(0, 1)}, lambda n, rng: [{"a": 2.0}] * n, "'a' must lie in Box(0.0, 1.0, (), float32)"),
    ],
)
def test_what_is_no_task_is_refused(given, sample, words, sentence):
    with pytest.raises(InputError) as error:
        tasks = tasks_of(given, sample)
        tasks.splits["train"].draw(3, torch.Generator())
    assert words in sentence(error)


def test_a_task_outside_its_space_is_refused(sentence):
    with pytest.raises(InputError) as error:
        walk().task_from_dicts([{"speed": 5.0}])
    assert "'speed' must lie in Box(0.5, 1.5, (), float32), and 5.0 does not" in sentence(error)
