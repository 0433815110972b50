"""Parameters of tabular MDPs."""

from __future__ import annotations

import pytest

import envs
from envs.tabular import TabularConfig


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_states": 1}, "num_states must be at least 2, not 1."),
        ({"num_actions": 0}, "num_actions must be at least 2, not 0."),
        ({"horizon": 0}, "horizon must be at least 1, not 0."),
        ({"concentration": 0.0}, "concentration must be a positive number, not 0.0."),
        ({"concentration": float("nan")}, "concentration must be a positive number, not nan."),
        ({"reward_noise": -1.0}, "reward_noise must be a number of at least 0, not -1.0."),
        ({"reward_noise": float("inf")}, "reward_noise must be a number of at least 0, not inf."),
    ],
)
def test_impossible_parameters_are_answered_in_one_sentence(fields, said):
    with pytest.raises(envs.InputError) as caught:
        TabularConfig(**fields)
    assert str(caught.value) == said
