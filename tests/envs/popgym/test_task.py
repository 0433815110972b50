"""Parameters of the card games."""

from __future__ import annotations

import pytest

import envs
from envs.popgym.task import CountRecallConfig, RepeatPreviousConfig


def test_k_is_below_the_number_of_cards():
    assert RepeatPreviousConfig(2, 103).k == 103
    for k in (0, 104):
        with pytest.raises(envs.InputError, match="k must be"):
            RepeatPreviousConfig(2, k)


def test_only_known_kinds_are_counted():
    with pytest.raises(envs.InputError, match="kinds"):
        CountRecallConfig(kinds="faces")  # type: ignore[arg-type]


@pytest.mark.parametrize("game", ["repeat-previous", "count-recall", "autoencode"])
def test_a_deck_at_least(game):
    with pytest.raises(envs.InputError, match="num_decks"):
        envs.make(game, num_decks=0)
