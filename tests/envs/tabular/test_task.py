"""Parameters of tabular MDPs."""

from __future__ import annotations

import pytest

import envs
from envs.tabular import TabularConfig


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_states": 1}, "num_states"),
        ({"num_actions": 0}, "num_actions"),
        ({"horizon": 0}, "horizon"),
        ({"concentration": 0.0}, "concentration"),
        ({"concentration": float("nan")}, "concentration"),
        ({"reward_noise": -1.0}, "reward_noise"),
        ({"reward_noise": float("inf")}, "reward_noise"),
    ],
)
def test_impossible_parameters_are_answered_in_one_sentence(fields, said):
    with pytest.raises(envs.InputError) as caught:
        TabularConfig(**fields)
    assert said in str(caught.value)
