"""What stands beside the panels of a trial: a map of attention, and a belief that grows."""

from __future__ import annotations

import numpy as np
from PIL import ImageColor

from metarl.video.beside import BAND, DEEP, MOST_LATENTS, PAPER, draw_attention, draw_belief


def shares(steps: int) -> np.ndarray:
    weight = np.random.default_rng(0).random((steps, steps)).astype(np.float32) * np.tri(steps, k=-1, dtype=np.float32)
    return weight / (weight.sum(1, keepdims=True) + 0.3)


def test_the_map_grows_by_rows_and_earlier_rows_stay():
    cell, attention = 10, shares(12)
    final = draw_attention(attention, 12, 120, 4)
    for t in range(12):
        image = draw_attention(attention, t, 120, 4)
        above, below = slice(0, max(0, t * cell - 3)), slice((t + 1) * cell + 3, None)
        np.testing.assert_array_equal(image[above], final[above])
        np.testing.assert_array_equal(image[below], draw_attention(np.zeros_like(attention), t, 120, 4)[below])
    assert (draw_attention(attention, 0, 120, 4) != final).any()


def test_the_future_is_blank():
    """Whatever stands there."""
    attention = shares(12)
    wrong = attention + np.triu(np.ones_like(attention)) * 1e-9
    np.testing.assert_array_equal(draw_attention(attention, 12, 120, 12), draw_attention(wrong, 12, 120, 12))
    paper = draw_attention(attention, 12, 120, 12)[5, 115]
    for row in range(12):
        assert (draw_attention(attention, 12, 120, 12)[row * 10 + 5, row * 10 + 5 :] == paper).all()


def test_shades_are_shares_against_an_equal_one():
    attention = np.zeros((4, 4), np.float32)
    attention[3, :3] = [2 / 3, 1 / 3, 1e-6]
    dark, middle, white = draw_attention(attention, 4, 40, 4)[35, [5, 15, 25]].astype(int)
    assert "#{:02x}{:02x}{:02x}".format(*dark) == DEEP
    np.testing.assert_allclose(middle, (dark + 255) / 2, atol=1)
    assert (white == 255).all()


def belief(steps: int = 12, latents: int = 2) -> np.ndarray:
    """Means of 0, and standard deviations that fall from 1 to a half."""
    std = np.linspace(1, 0.5, steps)[:, None].repeat(latents, 1)
    return np.stack([np.zeros_like(std), std])


def rows_of(image: np.ndarray, colour: str, x: int) -> np.ndarray:
    return np.flatnonzero((image[:, x] == ImageColor.getrgb(colour)).all(-1))


def test_the_band_is_one_std_on_both_sides_of_the_mean():
    image = draw_belief(belief(), 12, 120, 12)
    for x, std in ((5, 1.0), (115, 0.5)):
        upper = rows_of(image, BAND, x)
        upper = upper[upper < 60]
        np.testing.assert_allclose([upper.min(), upper.max()], [30 - 28 * std, 30 + 28 * std], atol=1.5)
        assert (rows_of(image, DEEP, x) < 32).any() and (rows_of(image, DEEP, x) > 88).any()


def test_a_belief_grows_with_its_steps():
    whole = draw_belief(belief(), 12, 120, 12)
    early = draw_belief(belief(), 4, 120, 12)
    np.testing.assert_array_equal(early[:, :43], whole[:, :43])
    assert set(map(tuple, early[:, 52:].reshape(-1, 3).tolist())) <= {
        ImageColor.getrgb(colour) for colour in (PAPER, "#c3cad4", "#ffffff")
    }


def test_all_latents_have_one_scale_and_the_first_of_many_are_drawn():
    wide = belief()
    wide[0, :, 1] = 9.0
    image = draw_belief(wide, 12, 120, 12)
    assert 4 <= len(rows_of(image[:60], BAND, 5)) + len(rows_of(image[:60], DEEP, 5)) <= 9, "a tenth of the height"
    many = draw_belief(belief(latents=50), 12, 120, 12)
    np.testing.assert_array_equal(many, draw_belief(belief(latents=MOST_LATENTS), 12, 120, 12))
