"""The picture of a gridworld: walls, possible goals, the goal, visits, the path, earlier episodes and the agent."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

OVER = 3
"""Drawn so many times as large and reduced, for smooth lines."""


def draw(
    walls: Tensor,
    possible: Tensor,
    goal: int,
    start: int,
    path: Sequence[int],
    earlier: Sequence[Sequence[int]],
    size: int,
    key: int | None = None,
) -> np.ndarray:
    """A `uint8 [size, size, 3]` image of one episode.

    Args:
        walls: [H, W] bool.
        possible: [H, W] bool, where goals may lie; marked with dots.
        goal, start: cells, row * width + column.
        path: cells of the current episode up to now; the agent stands on the last.
        earlier: cells of earlier episodes on the same task, the latest last.
        key: cell of a second thing to find, if there is one.
    """
    height, width = walls.shape
    full = size * OVER
    cell = 0.92 * full / max(height, width)
    left, top = (full - width * cell) / 2, (full - height * cell) / 2
    image = Image.new("RGB", (full, full), "#f4f6f9")
    canvas = ImageDraw.Draw(image)

    def centre(place: int, shift: float = 0.0) -> tuple[float, float]:
        return left + (place % width + 0.5 + shift) * cell, top + (place // width + 0.5 + shift) * cell

    def box(place: int, inset: float) -> tuple[float, float, float, float]:
        x, y = left + place % width * cell, top + place // width * cell
        return x + inset * cell, y + inset * cell, x + (1 - inset) * cell, y + (1 - inset) * cell

    def line(cells: Sequence[int], colour: tuple[int, int, int], thickness: float, shift: float) -> None:
        points = [centre(place, shift) for place, _ in itertools.groupby(cells)]
        wide = thickness * max(cell, 40 * OVER)  # on small cells as wide as on those of 40 pixels
        if len(points) > 1:
            canvas.line(points, fill=colour, width=max(1, round(wide)), joint="curve")
            for end in (points[0], points[-1]):
                canvas.circle(end, wide / 2, fill=colour)

    edge = 0.06 * cell
    frame = (left - edge, top - edge, left + width * cell + edge, top + height * cell + edge)
    canvas.rounded_rectangle(frame, 0.2 * cell, fill="#e3e8ef")
    visits = Counter(path)
    for place in range(height * width):
        if walls.view(-1)[place]:
            canvas.rounded_rectangle(box(place, 0.0), 0.08 * cell, fill="#465264")
            continue
        # The more often a cell was visited in this episode, the deeper its colour.
        light = 0.72 ** visits[place] if place != goal else 0.6 * 0.9 ** visits[place]
        deep = (148, 187, 250) if place != goal else (250, 196, 172)
        canvas.rounded_rectangle(box(place, 0.025), 0.1 * cell, fill=_mix((255, 255, 255), deep, 1 - light))
        if possible.view(-1)[place] and place != goal:
            canvas.circle(centre(place), 0.045 * cell, fill="#ccd4de")
    canvas.circle(centre(start), 0.13 * cell, fill="#ffffff", outline="#7b8594", width=max(1, round(0.045 * cell)))
    for age, past in reversed(list(enumerate(reversed(earlier), 1))):  # the oldest lies lowest and is the faintest
        grey = min(184 + 12 * age, 226)
        line(past, (grey, grey + 4, grey + 10), 0.05, 0.07 * (age if age % 2 else -age) / (1 + age // 4))
    if key is not None:
        wide = max(2, round(0.075 * cell))
        canvas.rounded_rectangle(box(key, 0.2), 0.08 * cell, outline="#d09a12", width=wide)
    spot = centre(goal)
    canvas.circle(spot, 0.33 * cell, outline="#e2582f", width=max(2, round(0.075 * cell)))
    canvas.circle(spot, 0.13 * cell, fill="#e2582f")
    for i, step in enumerate(itertools.pairwise(path), 2):
        fresh = max(0.0, 1 - (len(path) - i) / 15)  # recent moves are dark, older ones fade
        line(step, _mix((143, 180, 240), (31, 95, 214), fresh), 0.085, 0.0)
    x, y = centre(path[-1])
    canvas.circle((x, y), 0.24 * cell, fill="#ffffff")
    canvas.circle((x, y), 0.19 * cell, fill="#12306e")
    return np.asarray(image.reduce(OVER))


def _mix(a: tuple[int, int, int], b: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    """The colour at `share` of the way from `a` to `b`."""
    red, green, blue = (round(x + share * (y - x)) for x, y in zip(a, b, strict=True))
    return red, green, blue
