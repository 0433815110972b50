"""Spaces that a family cannot have; those that it can have are played in test_family.py."""

from __future__ import annotations

import pytest
from gymnasium import spaces
from walkers import Walk
from walks import walk

from envs import InputError


@pytest.mark.parametrize(
    ("observed", "acted", "words"),
    [
        (spaces.Sequence(spaces.Discrete(2)), None, "must be a space that gymnasium.spaces.flatten makes a vector of"),
        (
            None,
            spaces.Tuple([spaces.Discrete(2)]),
            "must be a Discrete, a MultiDiscrete or a Box",
        ),
    ],
)
def test_other_spaces_are_refused(observed, acted, words, sentence):
    changes = {"observation_space": observed or Walk.observation_space, "action_space": acted or Walk.action_space}
    with pytest.raises(InputError) as error:
        walk(type("Odd", (Walk,), changes))
    assert words in sentence(error)
