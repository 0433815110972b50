"""Which numbers that are not finite an environment brought in. tests/test_contract.py tells it of whole families."""

from __future__ import annotations

import math

import pytest
import torch

import envs
from metarl.backend.errors import NonFiniteError
from metarl.learning.finite import check_environment, environment_fault
from metarl.learning.rollout import Trajectory

ENV = envs.make("point", horizon=3)


def trajectory(**places) -> Trajectory:
    """Two tasks, lanes and episodes of zeros; `field=((t, ...), value)` sets one number of one lane."""
    fields = {"obs": torch.zeros(2, 6, 2, 2), "action": torch.zeros(2, 6, 2, 2), "reward": torch.zeros(2, 6, 2)}
    first = torch.arange(6).view(1, 6, 1).expand(2, 6, 2) % 3 == 0
    for name, ((t, *rest), value) in places.items():
        fields[name][0, t, 0, *rest] = value
    return Trajectory(**fields, mask=torch.ones(2, 6, 2), first=first)


@pytest.mark.parametrize(
    ("places", "where", "field", "when", "value"),
    [
        ({"reward": ((1,), math.nan)}, "step()", "reward", "step 1 ", "nan"),
        ({"reward": ((5,), math.inf)}, "step()", "reward", "step 2 ", "inf"),
        ({"obs": ((4, 1), -math.inf)}, "step()", "obs", "step 1 ", "-inf"),
        ({"obs": ((3, 0), math.nan)}, "reset()", "obs", "an episode's start", "nan"),
        ({"obs": ((2, 0), math.nan), "action": ((2, 0), math.nan)}, "step()", "obs", "step 2 ", "nan"),
    ],
)
def test_the_first_number_that_is_not_finite_is_named(places, where, field, when, value):
    said = environment_fault(ENV, [trajectory(), trajectory(**places)])
    assert all(words in said for words in (where, f"its {field} ", when)) and said.endswith(f" {value}")
    with pytest.raises(NonFiniteError):
        check_environment(ENV, [trajectory(**places)])


@pytest.mark.parametrize("field", ["obs", "reward"])
def test_what_follows_an_action_that_is_not_finite_is_no_fault(field):
    t = trajectory(action=((1, 0), math.nan), **{field: ((2, 0) if field == "obs" else (1,), math.nan)})
    assert environment_fault(ENV, [t]) is None
    check_environment(ENV, [t])


def test_steps_that_do_not_count_may_hold_anything():
    t = trajectory(reward=((2,), math.nan), obs=((2, 0), math.nan))
    t.mask[0, 2] = 0
    assert environment_fault(ENV, [t]) is None


def test_finite_numbers_are_no_fault():
    assert environment_fault(ENV, [trajectory()]) is None
    check_environment(ENV, [trajectory()])
