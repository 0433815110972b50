"""Spaces that a family cannot have; those that it can have are played in test_family.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from walkers import Walk
from walks import episodes, walk

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


@pytest.mark.parametrize("space", [spaces.Discrete(1000, start=7), spaces.MultiDiscrete([[500, 20]], start=[[7, 7]])])
def test_many_categories_stay_numbers_from_zero(space):
    """A [N, E] of them is not [N, E, 1000], and they are checked like all others."""

    def seen(self):
        return np.full(space.shape, 7 + self.t) if space.shape else 7 + self.t

    make = type("Categories", (Walk,), {"observation_space": space, "seen": seen})
    obs, _, _ = episodes(walk(make), steps=2)
    assert obs.dtype == torch.int64 and obs.shape == (3, 3, 2, len(walk(make).observation_space.nvec))
    assert (obs == torch.arange(3).view(3, 1, 1, 1)).all()


def test_few_are_one_hot():
    make = type("Few", (Walk,), {"observation_space": spaces.Discrete(9), "seen": lambda self: self.t})
    obs, _, _ = episodes(walk(make), steps=1)
    assert obs.shape == (2, 3, 2, 9) and obs[1, 0, 0].tolist() == [0, 1] + 7 * [0]
