"""The words in pictures and where they stand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import ImageDraw
from pytest import MonkeyPatch

Box = tuple[float, float, float, float]


@contextmanager
def words_drawn() -> Iterator[list[tuple[str, Box, tuple[int, int], Any]]]:
    """What Pillow writes meanwhile: the words, their box, the size of the picture and the picture itself."""
    found: list[tuple[str, Box, tuple[int, int], Any]] = []
    write = ImageDraw.ImageDraw.text

    def text(self, xy, text, fill=None, font=None, anchor=None, *args, **kwargs):
        if text:
            found.append((text, self.textbbox(xy, text, font, anchor), self.im.size, self.im))
        return write(self, xy, text, fill, font, anchor, *args, **kwargs)

    with MonkeyPatch.context() as patch:
        patch.setattr(ImageDraw.ImageDraw, "text", text)
        yield found


def ticks(chart) -> list[tuple[str, Box]]:
    """Words along the axes of a `GrowingChart`, in pixels from its top left."""
    found = []
    for axes in chart.figure.axes:
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            ticks = [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            for label in (*ticks, axis.label, axis.get_offset_text()):
                box = label.get_window_extent(chart.canvas.get_renderer())
                if label.get_text() and label.get_visible():
                    found.append((label.get_text(), (box.x0, chart.height - box.y1, box.x1, chart.height - box.y0)))
    return found


def collisions(words: list[tuple[str, Box]], size: tuple[int, int]) -> list[tuple[str, ...]]:
    """Words that overlap each other, and words that reach beyond the picture."""
    beyond = [(s,) for s, b in words if b[0] < 0 or b[1] < 0 or b[2] > size[0] or b[3] > size[1]]
    overlapping = [
        (s, t)
        for (s, a), (t, b) in itertools.combinations(words, 2)
        if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
    ]
    return beyond + overlapping
