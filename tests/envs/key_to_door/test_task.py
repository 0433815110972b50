"""Parameters of dark key-to-door."""

from __future__ import annotations

import pytest

import envs


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"size": 1}, "size"),
        ({"start": (9, 0)}, "start"),
        ({"held_out_every": 2}, "held_out_every"),
        ({"size": 2, "start": (0, 0), "held_out_every": 17}, "held_out_every"),
        ({"horizon": 0}, "horizon"),
    ],
)
def test_a_wrong_parameter_is_answered_in_one_sentence(fields, said):
    with pytest.raises(envs.InputError) as caught:
        envs.make("key-to-door", **fields)
    assert said in str(caught.value) and "\n" not in str(caught.value)
