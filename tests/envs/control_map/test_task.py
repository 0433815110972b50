"""The parameters of reaching under a hidden map."""

import pytest

import envs
from envs.control_map import PRESETS, ControlMapConfig


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"min_gain": 2.0}, "min_gain"),
        ({"min_gain": 0.0}, "min_gain"),
        ({"max_gain": 4.5}, "max_gain"),
        ({"held_out": 180.0}, "held_out"),
        ({"reach": 0}, "reach"),
        ({"change_probability": 1.5, "reach": 3}, "change_probability"),
        ({"change_probability": 0.5}, "change_probability"),
    ],
)
def test_impossible_values_are_refused(fields, named):
    with pytest.raises(envs.InputError, match=named):
        ControlMapConfig(**fields)


def test_an_episode_has_a_goal_for_each_reach_that_it_begins():
    assert ControlMapConfig(horizon=12).num_reaches == 1
    assert [ControlMapConfig(horizon=h, reach=12).num_reaches for h in (11, 12, 13, 48)] == [1, 1, 2, 4]
    assert PRESETS["changing"].num_reaches == 4
