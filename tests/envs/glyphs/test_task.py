"""Parameters and presets of glyphs."""

from __future__ import annotations

import pytest

import envs
from envs.glyphs import PRESETS, GlyphsConfig


def test_presets_are_those_of_the_papers():
    assert (PRESETS["5-way"].horizon, PRESETS["10-way"].horizon) == (50, 100)
    assert [envs.make("glyphs", name).action_space.n for name in PRESETS] == [5, 10, 6, 11]


@pytest.mark.parametrize(
    "fields", [{"num_letters": 1}, {"num_letters": 21}, {"horizon": 0}, {"max_shift": 15}, {"max_zoom": 0.6}]
)
def test_a_value_out_of_range_is_named(fields):
    with pytest.raises(envs.InputError, match=next(iter(fields))):
        GlyphsConfig(**fields)
