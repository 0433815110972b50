"""Parameters and presets of the bandits."""

from __future__ import annotations

import pytest

import envs
from envs.bandit import BERNOULLI_PRESETS, GAUSSIAN_PRESETS, BanditConfig


class TestBadInput:
    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"num_arms": 1}, "num_arms"),
            ({"num_arms": 2.5}, "num_arms"),
            ({"horizon": 1}, "horizon"),
            ({"horizon": True}, "horizon"),
            ({"horizon": 40_000}, "horizon"),
            ({"rewards": "beta"}, "rewards"),
            ({"prior": "beta"}, "prior"),
            ({"observation": "none"}, "observation"),
            ({"prior": "normal"}, "Bernoulli rewards need prior='uniform', since a normal draw is no probability."),
        ],
    )
    def test_a_config_that_cannot_be_is_answered_in_one_sentence(self, fields, said):
        with pytest.raises(envs.InputError) as caught:
            BanditConfig(**fields)
        assert said in str(caught.value)


def test_presets_are_those_of_the_table():
    assert next(iter(BERNOULLI_PRESETS)) == "k5-n10" and len(BERNOULLI_PRESETS) == 9
    assert {(c.num_arms, c.horizon) for c in BERNOULLI_PRESETS.values()} == {
        (k, n) for k in (5, 10, 50) for n in (10, 100, 500)
    }
    assert all(c.rewards == "bernoulli" for c in BERNOULLI_PRESETS.values())
    assert all(c.rewards == "gaussian" for c in GAUSSIAN_PRESETS.values())
    assert {c.prior for c in GAUSSIAN_PRESETS.values()} == {"uniform", "normal"}
