"""Options of an environment other than those of training."""

from __future__ import annotations

import pytest

from envs import InputError, make, make_config
from metarl.training.env_options import changed, check_same_spaces, under


def test_options_replace_those_of_training():
    trained = make_config("point", horizon=5)
    config = under(trained, {"horizon": 9, "goal_tolerance": trained.goal_tolerance}, "point")
    assert config.horizon == 9 and changed(config, trained) == {"horizon": 9}
    assert under(trained, None, "point") == trained


@pytest.mark.parametrize(
    ("options", "field"), [({"wind": 3}, "wind"), ({"horizon": 0}, "horizon"), ({"horizon": "x"}, "horizon")]
)
def test_an_option_that_does_not_fit_is_refused(options, field, sentence):
    with pytest.raises(InputError) as error:
        under(make_config("point"), options, "point")
    assert field in sentence(error)


def test_spaces_must_stay(sentence):
    check_same_spaces(make("point", horizon=3), make("point"))
    with pytest.raises(InputError) as error:
        under(make_config("bernoulli-bandit"), {"num_arms": 7}, "bernoulli-bandit")
    assert "action_space" in sentence(error)
