"""Words in the frames of a video: none runs into another or beyond the edge, whatever they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from words import collisions, ticks, words_drawn

from metarl.algorithms.base import Stages
from metarl.video.frames import GrowingChart, Page, Panel, Storyboard, stage_colours
from metarl.video.recording import Recording

LONG = "held-out task 13 of 20  ·  mean " + ", ".join(["−0.123"] * 30)


def make_storyboard(count: int, scale: float, trial: bool, duration: int = 20) -> Storyboard:
    """Stages whose returns part slowly, so that their dots lie close together at first."""
    rewards = scale / duration * (1 + 0.02 * np.random.default_rng(0).normal(size=(count, duration)))
    curves = np.pad(rewards.cumsum(1), ((0, 0), (1, 0)))
    names = [f"episode {k + 1}" if trial else f"after {k} gradient steps" for k in range(count)]
    attention = np.zeros((count * duration,) * 2) if trial else None
    starts = [k * duration * trial for k in range(count)]
    stage = [str(k) for k in range(count)]
    title = "an-environment-with-a-long-name · its-preset · RecurrentPPO"
    unit = "episode" if trial else "gradient steps"
    return Storyboard(title, LONG, names, stage, unit, curves, starts, min(count, 5), 20, attention)


@pytest.mark.parametrize("scale", [-141.4, 2e-4, 123456.0])
@pytest.mark.parametrize(("count", "trial"), [(1, False), (2, False), (4, False), (5, False), (3, True), (12, True)])
@pytest.mark.parametrize("size", [200, 320])
def test_no_words_overlap_or_leave_the_frame(count, trial, size, scale):
    board = make_storyboard(count, scale, trial)
    with words_drawn() as drawn:
        page = Page(board, size)
    still = [(words, box) for words, box, *_ in drawn]
    still += [
        (words, (x0 + page.right, y0 + page.top, x1 + page.right, y1 + page.top))
        for words, (x0, y0, x1, y1) in ticks(page.chart)
    ]
    blank = np.zeros((size, size, 3), np.uint8)
    end = board.starts[-1] + board.duration
    for t in (0, 1, end // 2, end):
        panels = [
            Panel(k, t, blank, float(board.curves[k, -1]), "■ ended at step 200") for k in range(board.num_panels)
        ]
        with words_drawn() as drawn:
            page.draw(t, panels)
        words = still + [(words, box) for words, box, *_ in drawn]
        assert collisions(words, page.image.size) == []


def test_the_first_and_the_last_stage_keep_their_numbers():
    page = Page(make_storyboard(4, -141.4, False), 320)
    with words_drawn() as drawn:
        page.draw(20, [None] * 4)
    said = {words for words, *_ in drawn}
    assert {f"−{abs(curve[-1]):.{page.digits}f}" for curve in page.board.curves[[0, -1]]} <= said


def test_what_is_too_long_ends_in_an_ellipsis_at_a_word():
    with words_drawn() as drawn:
        Page(make_storyboard(4, -141.4, False), 300)
    (subtitle,) = (words for words, *_ in drawn if words.startswith("held-out"))
    assert subtitle.endswith(" …") and LONG.startswith(subtitle.removesuffix(" …") + " ")


EPISODES, HORIZON = 3, 4


def trial(num_episodes: int) -> Recording:
    """A recording of the given length, whose content does not matter."""
    rewards, stages = torch.zeros(num_episodes, 1, HORIZON), Stages(num_episodes=num_episodes)
    return Recording(torch.zeros(1), [], rewards, [HORIZON], 1, stages)  # type: ignore[arg-type]


# --- Panels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_episodes", [1, 2, 4, 5, 6, 10, 30])
def test_panels_are_few_and_keep_the_first_and_last_episode(num_episodes):
    panels = trial(num_episodes).panels
    assert [k for panel in panels for k in panel] == list(range(num_episodes))  # every stage is seen once
    stay = [panel[-1] for panel in panels]
    assert len(stay) <= 5
    assert {0, num_episodes - 1} <= set(stay)
    if num_episodes <= 5:
        assert stay == list(range(num_episodes))


def test_names():
    assert trial(2).names == ["episode 1", "episode 2"]
    assert trial(1).names == ["trial"]
    rewards = torch.zeros(3, 1, 2)
    gradient = Recording(torch.zeros(1), [], rewards, [2], 1, Stages(2))  # type: ignore[arg-type]
    assert gradient.names == ["before adaptation", "after 1 gradient step", "after 2 gradient steps"]


# --- The chart ---------------------------------------------------------------------------------------------------


def chart(curves, starts) -> GrowingChart:
    names = [str(k) for k in range(len(curves))]
    board = Storyboard("", "", names, names, "gradient steps", np.array(curves), starts, len(curves), 1)
    return GrowingChart(board, stage_colours(len(curves)), 300, 200)


def test_the_growing_chart_grows_on_axes_that_stay():
    growing = chart([[0.0, -1.0, -4.0], [0.0, -1.0, -1.5]], [0, 0])
    (start, first), (end, last) = growing.draw(0), growing.draw(2)
    assert start.shape == end.shape == (200, 300, 3) and (start != end).any()
    assert [value for _, _, value in last] == [-4.0, -1.5]
    assert first[0][1] == first[1][1] < last[1][1] < last[0][1]  # both start at 0; further down is a larger y
    np.testing.assert_array_equal(growing.draw(0)[0], start)


def test_in_a_trial_the_chart_has_the_episodes_so_far():
    growing = chart([[0.0, 1.0, 2.0], [0.0, 3.0, 6.0]], [0, 2])
    assert [[value for *_, value in growing.draw(t)[1]] for t in range(5)] == [[0], [1], [2, 0], [2, 3], [2, 6]]


@pytest.mark.parametrize("end", [-8.89, -15.3, 566.0])
def test_both_parts_of_the_chart_have_the_same_lines(end):
    left, right = chart([[0.0, end / 2, end], [0.0, 0.0, end / 40]], [0, 0]).figure.axes
    assert left.get_yticks().tolist() == right.get_yticks().tolist()


def test_a_single_stage_has_one_chart():
    growing = chart([[0.0, 1.0, 2.0]], [0])
    assert len(growing.figure.axes) == 1
    (x, y, value), (x_later, y_later, later) = growing.draw(1)[1][0], growing.draw(2)[1][0]
    assert (value, later) == (1.0, 2.0) and x < x_later and y > y_later
