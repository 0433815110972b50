"""Words in the frames of a video: none runs into another or beyond the edge, whatever they say."""

from __future__ import annotations

import numpy as np
import pytest
from words import collisions, ticks, words_drawn

from metarl.video.frames import Page, Panel, Sheet

LONG = "held-out task 13 of 20  ·  mean " + ", ".join(["−0.123"] * 30)


def make_sheet(count: int, scale: float, trial: bool, duration: int = 20) -> Sheet:
    """Stages whose returns part slowly, so that their dots lie close together at first."""
    rewards = scale / duration * (1 + 0.02 * np.random.default_rng(0).normal(size=(count, duration)))
    curves = np.pad(rewards.cumsum(1), ((0, 0), (1, 0)))
    names = [f"episode {k + 1}" if trial else f"after {k} gradient steps" for k in range(count)]
    attention = np.zeros((count * duration,) * 2) if trial else None
    starts = [k * duration * trial for k in range(count)]
    stage = [str(k) for k in range(count)]
    title = "an-environment-with-a-long-name · its-preset · RecurrentPPO"
    unit = "episode" if trial else "gradient steps"
    return Sheet(title, LONG, names, stage, unit, curves, starts, min(count, 5), 20, attention)


@pytest.mark.parametrize("scale", [-141.4, 2e-4, 123456.0])
@pytest.mark.parametrize(("count", "trial"), [(1, False), (2, False), (4, False), (5, False), (3, True), (12, True)])
@pytest.mark.parametrize("size", [200, 320])
def test_no_words_overlap_or_leave_the_frame(count, trial, size, scale):
    sheet = make_sheet(count, scale, trial)
    with words_drawn() as drawn:
        page = Page(sheet, size)
    still = [(words, box) for words, box, *_ in drawn]
    still += [
        (words, (x0 + page.right, y0 + page.top, x1 + page.right, y1 + page.top))
        for words, (x0, y0, x1, y1) in ticks(page.chart)
    ]
    blank = np.zeros((size, size, 3), np.uint8)
    end = sheet.starts[-1] + sheet.duration
    for t in (0, 1, end // 2, end):
        panels = [
            Panel(k, t, blank, float(sheet.curves[k, -1]), "■ ended at step 200") for k in range(sheet.num_panels)
        ]
        with words_drawn() as drawn:
            page.draw(t, panels)
        words = still + [(words, box) for words, box, *_ in drawn]
        assert collisions(words, page.image.size) == []


def test_the_first_and_the_last_stage_keep_their_numbers():
    page = Page(make_sheet(4, -141.4, False), 320)
    with words_drawn() as drawn:
        page.draw(20, [None] * 4)
    said = {words for words, *_ in drawn}
    assert {f"−{abs(curve[-1]):.{page.digits}f}" for curve in page.sheet.curves[[0, -1]]} <= said


def test_what_is_too_long_ends_in_an_ellipsis_at_a_word():
    with words_drawn() as drawn:
        Page(make_sheet(4, -141.4, False), 300)
    (subtitle,) = (words for words, *_ in drawn if words.startswith("held-out"))
    assert subtitle.endswith(" …") and LONG.startswith(subtitle.removesuffix(" …") + " ")
