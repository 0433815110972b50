"""Instances of letters."""

from __future__ import annotations

import pytest
import torch
from glyph_plays import generator

from envs.glyphs import GlyphsConfig
from envs.glyphs.views import draw_instances, transform

CONFIG = GlyphsConfig(max_rotation=90.0, max_shift=3.0, max_zoom=0.5)


def picture() -> torch.Tensor:
    """A block above the middle and to its left, [1, 28, 28]."""
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[0, 8:12, 10:14] = 200
    return image


def moved(turn=0.0, zoom=0.0, right=0.0, down=0.0) -> torch.Tensor:
    return transform(picture(), torch.tensor([[turn], [zoom], [right], [down]]), CONFIG)


def test_nothing_leaves_an_image_as_it_was():
    assert torch.equal(moved(), picture())


def test_a_shift_is_in_pixels_to_the_right_and_down():
    assert torch.equal(moved(right=1, down=-1), picture().roll((-3, 3), (1, 2)))


def test_a_quarter_turn_is_one():
    assert torch.equal(moved(turn=1), picture().rot90(-1, (1, 2)))


def test_a_zoom_enlarges():
    before, after = picture().float().sum(), moved(zoom=1).float().sum()
    assert after / before == pytest.approx(1.5**2, rel=0.05)


def test_instances_differ_and_follow_from_the_generator():
    image = torch.stack([picture().expand(4, -1, -1), picture().expand(4, -1, -1).flip(-1)])
    letter = torch.tensor([[0, 1, 0], [1, 0, 0]])
    first, again = (draw_instances(image, letter, GlyphsConfig(), generator(1)) for _ in range(2))
    assert first.shape == (2, 3, 784) and first.dtype == torch.uint8 and torch.equal(first, again)
    assert len(first.flatten(0, 1).unique(dim=0)) == 6


def test_an_instance_does_not_depend_on_those_beside_it():
    image, parts = picture().expand(7, -1, -1), 2 * torch.rand(4, 7, generator=generator()) - 1
    together = transform(image, parts, CONFIG)
    for n in range(7):
        assert torch.equal(transform(image[n : n + 1], parts[:, n : n + 1], CONFIG), together[n : n + 1])
