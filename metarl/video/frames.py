"""Frames of a video: panels, the memory's attention or belief beside them, and charts of the return that grow."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from metarl.figures.plot import ACCENT, FAINT, INK, MUTED, number
from metarl.video.beside import PAPER, draw_attention, draw_belief

BEFORE, RAMP = "#9aa3b0", ("#19a98b", "#2f6fde", "#7a3fb5")
"""Colours of stages: the first, and from the second to the last."""


@dataclass(frozen=True)
class Storyboard:
    """What is known of a task's frames before the first is drawn; K stages of adaptation.

    Attributes:
        names: of the stages.
        ticks, axis: short names of the stages, and what they are, for the chart.
        curves: mean return so far, [K, duration + 1].
        starts: the step at which each stage begins.
        num_panels: stages may share a panel.
        num_envs: lanes behind each mean.
        attention, belief: see `draw_attention` and `draw_belief`; one of them at most.
    """

    title: str
    subtitle: str
    names: list[str]
    ticks: list[str]
    axis: str
    curves: np.ndarray
    starts: list[int]
    num_panels: int
    num_envs: int
    attention: np.ndarray | None = None
    belief: np.ndarray | None = None

    @property
    def beside(self) -> bool:
        """Does anything stand between the panels and the chart?"""
        return self.attention is not None or self.belief is not None

    @property
    def duration(self) -> int:
        """Steps of a stage."""
        return self.curves.shape[1] - 1

    @property
    def trial(self) -> bool:
        """Do stages follow one another?"""
        return self.starts[-1] > 0


@dataclass(frozen=True, eq=False)
class Panel:
    """What a panel shows."""

    stage: int
    age: int  # steps into the episode
    image: np.ndarray  # uint8 [size, size, 3]
    total: float  # return of the episode so far
    mark: str


class Page:
    """One task's frames. What stands still is drawn once; panels, curves and numbers go over it."""

    top, margin, gap = 132, 24, 16  # pixels: header and captions, edges, between panels

    def __init__(self, board: Storyboard, size: int) -> None:
        self.board, self.size = board, size
        spread = np.ptp(board.curves)
        self.digits = int(spread < 100) + int(spread < 10)
        self.colours = stage_colours(len(board.curves))
        self.left = [self.margin + k * (size + self.gap) for k in range(board.num_panels)]
        self.map_left = self.left[-1] + size + self.gap + 12
        self.chart = GrowingChart(board, self.colours, round(1.2 * size) + 56, size)
        self.right = self.map_left + (size + self.gap) * board.beside
        width, height = self.right + self.chart.width + self.margin, self.top + size + self.margin
        self.image = Image.new("RGB", (width + width % 2, height + height % 2), "white")
        draw = ImageDraw.Draw(self.image)
        room = self.right + self.chart.width - 8 - self.margin
        clock = font(16).getlength(self._clock(board.starts[-1] + board.duration)) + self.gap
        draw.text((self.margin, 42), fitted(board.title, font(21, bold=True), room), INK, font(21, bold=True), "ls")
        draw.text((self.margin, 70), fitted(board.subtitle, font(16), room - clock), MUTED, font(16), "ls")
        for x in self.left:
            draw.rectangle((x, self.top, x + size - 1, self.top + size - 1), PAPER)
        if board.attention is not None:
            self._caption(draw, self.map_left, "attention over the past", "row: now, column: past", size)
            self._strips(draw, both=True)
        if board.belief is not None:
            self._caption(draw, self.map_left, "belief about the task", "each latent, mean ± std", size)
            self._strips(draw, both=False)
        of = "trials" if board.trial else "episodes"
        lanes = f"mean of {board.num_envs} {of}" if board.num_envs > 1 else f"of this {of.removesuffix('s')}"
        self._caption(draw, self.right + self.chart.inset, "return so far", lanes, room)

    def draw(self, t: int, panels: Sequence[Panel | None]) -> np.ndarray:
        """The frame at step t; None for a panel whose first stage has not begun."""
        image = self.image.copy()
        draw = ImageDraw.Draw(image)
        for x, panel in zip(self.left, panels, strict=True):
            if panel is None:
                continue
            note = f"return {number(panel.total, self.digits)}"
            self._caption(draw, x, self.board.names[panel.stage], note, self.size)
            draw.rectangle((x, self.top - 4, x + self.size - 1, self.top - 1), self.colours[panel.stage])
            image.paste(Image.fromarray(panel.image), (x, self.top))
            left = self.size - font(14).getlength(note) - 8
            marks = (panel.mark, " ".join(panel.mark.split()[:2]), "■")  # the longest that fits beside the return
            mark = next((words for words in marks if font(14).getlength(words) <= left), "")
            draw.text((x + self.size, self.top - 12), mark, INK, font(14), "rs")
        if self.board.attention is not None:
            attention = draw_attention(self.board.attention, t, self.size, self.board.duration)
            image.paste(Image.fromarray(attention), (self.map_left, self.top))
        if self.board.belief is not None:
            belief = draw_belief(self.board.belief, t, self.size, self.board.duration)
            image.paste(Image.fromarray(belief), (self.map_left, self.top))
        pixels, heads = self.chart.draw(t)
        image.paste(Image.fromarray(pixels), (self.right, self.top))
        self._label(draw, heads)
        draw.text((self.right + self.chart.width - 8, 70), self._clock(t), MUTED, font(16), "rs")
        return np.asarray(image)

    def _clock(self, t: int) -> str:
        duration, episodes = self.board.duration, len(set(self.board.starts))
        now = min(t // duration, episodes - 1)
        step = f"step {t - now * duration} of {duration}"
        return f"episode {now + 1} of {episodes}  ·  {step}" if self.board.trial else step

    def _caption(self, draw: ImageDraw.ImageDraw, x: float, name: str, note: str, room: float) -> None:
        draw.text((x, self.top - 32), fitted(name, font(15, bold=True), room), INK, font(15, bold=True), "ls")
        draw.text((x, self.top - 12), fitted(note, font(14), room), MUTED, font(14), "ls")

    def _label(self, draw: ImageDraw.ImageDraw, heads: Sequence[tuple[float, float, float]]) -> None:
        """Numbers above or below the chart's dots. One without room is left out; the last and the first come first."""
        low, high = self.top - 8, self.top + self.chart.height - self.chart.under
        places = [(self.right + x, self.top + y) for x, y, _ in heads]
        taken: list[tuple[float, ...]] = [(x - 6, y - 6, x + 6, y + 6) for x, y in places]
        last = len(heads) - 1
        for k in dict.fromkeys((last, 0, *range(last, 0, -1))):
            (x, y), words = places[k], number(heads[k][2], self.digits)
            half = font(12).getlength(words) / 2 + 2
            x = min(max(x, self.right + self.chart.inset + half), self.right + self.chart.width - half)
            for at, anchor in (((x, y - 9), "ms"), ((x, y + 9), "mt")):
                box = draw.textbbox(at, words, font(12), anchor)
                free = all(box[0] > b[2] or box[2] < b[0] or box[1] > b[3] or box[3] < b[1] for b in taken)
                if free and low <= box[1] and box[3] <= high:
                    draw.text(at, words, INK, font(12), anchor, stroke_width=2, stroke_fill="white")
                    taken.append((box[0] - 4, box[1] - 2, box[2] + 4, box[3] + 2))
                    break

    def _strips(self, draw: ImageDraw.ImageDraw, both: bool) -> None:
        """The colours of the trial's episodes along the upper edge of the picture, and the left one if `both`."""
        episodes = len(set(self.board.starts))
        edges = [round(k * self.size / episodes) for k in range(episodes + 1)]
        x, y = self.map_left, self.top
        for colour, a, b in zip(self.colours, edges[:-1], edges[1:], strict=False):
            draw.rectangle((x + a, y - 4, x + b - 1, y - 1), colour)
            if both:
                draw.rectangle((x - 4, y + a, x - 1, y + b - 1), colour)


@cache
def font(pixels: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font of the charts, which comes with Matplotlib."""
    from matplotlib import get_data_path

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans{'-Bold' if bold else ''}.ttf", pixels)


def short(value: float) -> str:
    """A number on an axis in few characters: millions as M, thousands as k from 10k on, millionths as µ."""
    ranges = ((1e6, 1e6, "M"), (1e4, 1e3, "k"), (1e-3, 1, ""), (1e-12, 1e-6, "µ"), (0, 1, ""))
    unit, sign = next((unit, sign) for least, unit, sign in ranges if abs(value) >= least)
    return f"{value / unit:g}{sign}".replace("-", "−")


def fitted(text: str, face: ImageFont.FreeTypeFont, room: float) -> str:
    """The text, or as many of its words as fit into `room` pixels with an ellipsis after them."""
    if face.getlength(text) <= room:
        return text
    count = bisect_right(range(len(text)), room, key=lambda n: face.getlength(f"{text[:n]} …"))
    kept = text[: max(count - 1, 0)]
    return f"{kept.rpartition(' ')[0] or kept} …"


class GrowingChart:
    """Two plots with one vertical axis: the mean return so far over time, and its present value by stage.

    A single stage has the first alone.
    """

    inset, under, after = 60, 46, 20  # pixels left of the axes, under them and to the right, for numbers and names

    def __init__(self, board: Storyboard, colours: list[str], width: int, height: int) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        self.curves, self.starts, self.width, self.height = board.curves, board.starts, width, height
        count = len(self.curves)
        self.figure = Figure(figsize=(width / 100, height / 100), dpi=100)
        self.canvas = FigureCanvasAgg(self.figure)
        room = width - self.inset - self.after
        low, high = float(self.curves.min()), float(self.curves.max())
        space = (high - low) or 1.0
        parts = ((0.0, 0.5), (0.6, 0.4)) if count > 1 else ((0.0, 1.0),)
        all_axes = [
            self.figure.add_axes(
                ((self.inset + x * room) / width, self.under / height, w * room / width, 1 - (self.under + 8) / height),
                ylim=(low - 0.06 * space, high + 0.12 * space),
            )
            for x, w in parts
        ]
        for axis in (all_axes[0].xaxis, *(axes.yaxis for axes in all_axes)):  # both parts have the same lines
            axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10]))
        all_axes[0].yaxis.set_major_formatter(lambda value, _: short(value))
        for axes, label in zip(all_axes, ("step", board.axis), strict=False):
            axes.set_xlabel(label, fontsize=10, color=MUTED)
            axes.tick_params(labelsize=9, colors=MUTED, length=0)
            axes.grid(color=FAINT, lw=0.7)
            axes.spines[:].set_visible(False)
        self.over_time, self.by_stage = all_axes[0], all_axes[1] if count > 1 else None
        self.over_time.set_xlim(0, board.duration)
        style: dict[str, Any] = {"animated": True, "clip_on": False}
        self.lines = [self.over_time.plot([], [], color=c, lw=2.2, **style)[0] for c in colours]
        self.dots = [self.over_time.plot([], [], "o", color=c, ms=6, **style)[0] for c in colours]
        if self.by_stage is not None:
            self.by_stage.set_xlim(-0.5, count - 0.5)
            widest = max(font(13).getlength(tick) for tick in board.ticks) + 5
            shown = range(0, count, math.ceil(widest * count / (parts[-1][1] * room)))
            self.by_stage.set_xticks(shown, [board.ticks[k] for k in shown])
            self.by_stage.tick_params(labelleft=False)
            self.join = self.by_stage.plot([], [], color=FAINT, lw=2, **style)[0]
            self.ends = [self.by_stage.plot([], [], "o", color=c, ms=8, **style)[0] for c in colours]
        self.canvas.draw()
        self.background = self.canvas.copy_from_bbox(self.figure.bbox)

    def draw(self, t: int) -> tuple[np.ndarray, list[tuple[float, float, float]]]:
        """The chart at step t, uint8 [H, W, 3], and (x, y, value) of the dots to label, in pixels from the top left."""
        self.canvas.restore_region(self.background)
        ages = [min(t - start, self.curves.shape[1] - 1) for start in self.starts if start <= t]
        heads = np.array([curve[age] for curve, age in zip(self.curves, ages, strict=False)])
        places = np.arange(len(heads)) if self.by_stage is not None else np.array(ages)
        if self.by_stage is not None:
            self.join.set_data(places, heads)
            self.figure.draw_artist(self.join)
        for k, age in enumerate(ages):
            self.lines[k].set_data(range(age + 1), self.curves[k, : age + 1])
            self.dots[k].set_data([age], heads[k : k + 1])
            self.figure.draw_artist(self.lines[k])
            self.figure.draw_artist(self.dots[k])
            if self.by_stage is not None:
                self.ends[k].set_data([k], heads[k : k + 1])
                self.figure.draw_artist(self.ends[k])
        axes = self.by_stage or self.over_time
        at = axes.transData.transform(np.column_stack([places, heads]))
        marks = [(float(x), self.height - float(y), float(v)) for (x, y), v in zip(at, heads, strict=True)]
        return np.asarray(self.canvas.buffer_rgba())[:, :, :3].copy(), marks if len(self.curves) <= 5 else marks[-1:]


def stage_colours(count: int) -> list[str]:
    """`count` colours: grey for the first stage, then evenly along `RAMP`."""
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    if count == 1:
        return [ACCENT]
    ramp = LinearSegmentedColormap.from_list("steps", RAMP)
    return [BEFORE, *(to_hex(ramp(x)) for x in np.linspace(0, 1, count - 1))]
