"""The program of a worker: actions as environments take them, and values in words; the rest in test_family.py."""

from __future__ import annotations

import warnings
from multiprocessing import Pipe

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation, TimeLimit

from envs.workers.worker import kind, said, serve, stepper, take


def test_actions_are_what_the_space_holds():
    assert take(spaces.Discrete(3), np.array([0, 2])) == [0, 2]
    assert take(spaces.Discrete(3, start=5), np.array([0, 2])) == [5, 7]
    space = spaces.Box(-1, 2, (2, 1), np.float64)
    first, second = take(space, np.array([[-5, 0.5], [9, 0]], np.float32))
    assert space.contains(first) and space.contains(second)
    assert first.tolist() == [[-1], [0.5]] and second.tolist() == [[2], [0]]


def test_an_environment_is_stepped_past_the_wrappers_that_change_nothing():
    env = gymnasium.make("CartPole-v1")
    assert stepper(env, 500) == env.unwrapped.step
    assert stepper(env, 501) == env.step
    for kept in (TimeLimit(env, 30), FlattenObservation(env)):
        assert stepper(kept, 40) == kept.step


@pytest.mark.parametrize(
    ("error", "words"), [(ValueError("a\nb"), "ValueError: a"), (AssertionError(), "AssertionError")]
)
def test_an_error_is_its_class_and_a_line(error, words):
    assert said(error) == words


def test_a_value_in_a_few_words():
    assert [kind(x) for x in (np.zeros(2), None, 3.0, "x")] == ["an array float64 [2]", "None", "3.0", "a str"]


def test_it_ends_quietly_where_the_parent_died_before_the_reply():
    here, there = Pipe()
    here.send(("step",))
    here.close()
    with warnings.catch_warnings():
        serve(there)
