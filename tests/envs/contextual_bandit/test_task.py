"""The parameters of the contextual bandit."""

import pytest

import envs
from envs.contextual_bandit import PRESETS, ContextualBanditConfig


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"num_contexts": 0}, "num_contexts"),
        ({"num_arms": 1}, "num_arms"),
        ({"p_best": 1.1}, "p_best"),
        ({"p_best": 0.3, "p_other": 0.3}, "p_other"),
    ],
)
def test_impossible_values_are_refused(fields, named):
    with pytest.raises(envs.InputError, match=named):
        ContextualBanditConfig(**fields)


def test_every_context_of_a_preset_is_seen_five_times_on_average():
    assert all(config.horizon == 5 * config.num_contexts for config in PRESETS.values())
    assert sorted(config.num_contexts for config in PRESETS.values()) == [5, 10, 20, 20, 50, 100, 200]
