"""Errors that a user can act on."""

from __future__ import annotations

import pytest

from envs.errors import InputError, require, unknown


def test_an_unknown_name_is_answered_with_the_nearest():
    assert (
        str(unknown("colour", "bleu", ["red", "blue"]))
        == "Unknown colour 'bleu'. Did you mean 'blue'? Known: blue, red."
    )


def test_unknown_names_without_a_neighbour_get_no_hint():
    assert str(unknown("colour", "qqqq", ["red", "blue"])) == "Unknown colour 'qqqq'. Known: blue, red."


def test_what_is_required_is_said_where_it_fails():
    require(True, "Never said.")
    with pytest.raises(InputError, match="This is said"):
        require(False, "This is said.")
