"""Kinds of spaces, and what the contract says of others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from signs import PRESETS, Signs

import envs
from envs.adapters.checks import check_action
from envs.contract import check_description
from envs.errors import InputError
from envs.kinds import action_dtype, counts, in_words, is_image, is_vector


def test_kinds_are_told_apart():
    image, vector = spaces.Box(0, 255, (7, 7, 3), np.uint8), spaces.Box(0, 1, (3,))
    assert [is_image(space) for space in (image, vector, spaces.Discrete(2))] == [True, False, False]
    assert [is_vector(space) for space in (image, vector)] == [False, True]
    assert counts(spaces.Discrete(4)) == [4] and counts(vector) == []
    assert counts(spaces.MultiDiscrete([3, 2])) == [3, 2]
    assert action_dtype(spaces.MultiDiscrete([3, 2])) == torch.int64


def test_a_space_is_told_in_one_line_however_many_bounds_it_has():
    for space in (spaces.Discrete(3), spaces.Box(0, 255, (7, 7, 3), np.uint8), spaces.Box(0, 1, (40,))):
        assert "\n" not in in_words(space) and type(space).__name__ in in_words(space)
    varied = spaces.Box(np.zeros((7, 7, 3), np.uint8), np.arange(147, dtype=np.uint8).reshape(7, 7, 3), dtype=np.uint8)
    assert "\n" not in in_words(varied) and "(7, 7, 3)" in in_words(varied)


def make() -> Signs:
    return Signs(PRESETS["small"], torch.device("cpu"))


def test_a_family_may_have_images_and_several_discrete_actions():
    envs.check_env(make(), num_steps=3)


@pytest.mark.parametrize(
    "attribute, space",
    [
        ("observation_space", spaces.Box(0, 255, (7, 7), np.uint8)),
        ("observation_space", spaces.Box(0, 1, (7, 7, 3), np.float32)),
        ("action_space", spaces.MultiDiscrete([3, 2], start=[1, 0])),
        ("action_space", spaces.MultiDiscrete([[3, 2]])),
    ],
)
def test_other_spaces_are_refused(attribute, space):
    env = make()
    setattr(env, attribute, space)
    with pytest.raises(InputError, match=attribute):
        check_description(env)


def test_actions_of_several_numbers_are_checked():
    space = spaces.MultiDiscrete([3, 2])
    assert check_action(space, [[2, 1]], 1).dtype == np.int64
    for wrong in ([[2, 2]], [[-1, 0]], [[0.5, 1.0]], [[0]]):
        with pytest.raises(InputError):
            check_action(space, wrong, 1)
