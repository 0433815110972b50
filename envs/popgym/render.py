"""Pictures of the card games: the cards on the table, the latest answer, and which answers were right."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER, CARD, GRID, INK, GREY, RED = "#f4f6f9", "#ffffff", "#dfe4ea", "#2b3440", "#7b8594", "#d2383c"
RIGHT, WRONG, UNASKED = "#2e9e6b", "#e2582f", "#b9c1cc"
RANKS = ("A", *map(str, range(2, 11)), "J", "Q", "K")
Outcomes = list[tuple[int, int]]
"""Each answer beside the right one, which is -1 where none counts."""


@dataclass(frozen=True)
class Picture:
    """What is drawn of one lane."""

    cards: list[int | None]
    """Kinds of the cards on the table; None for one face down."""
    question: str
    kinds: str
    """What tells cards apart: colors, suits or ranks."""
    counting: bool
    """Answers are counts, and not suits."""
    horizon: int
    outcomes: Outcomes
    earlier: list[Outcomes]


def draw(picture: Picture, size: int) -> np.ndarray:
    """One lane as a `uint8 [size, size, 3]` image."""
    over = 2  # drawn twice as large and reduced, for smooth edges
    table = Table(size * over)
    outcomes, horizon = picture.outcomes, picture.horizon
    table.text(16, 26, f"step {len(outcomes)} of {horizon}", 19, INK, "lm")
    table.text(464, 26, f"{right(outcomes)} right, {wrong(outcomes)} wrong", 19, INK, "rm")
    before = "   ".join(f"{right(x)} right" for x in picture.earlier)
    table.text(240, 52, f"before: {before}" if before else "", 14, GREY)
    for place, kind in enumerate(picture.cards):
        table.card(240 + 170 * (place - (len(picture.cards) - 1) / 2), 160, kind, picture.kinds)
    table.text(240, 268, picture.question, 18, INK)
    if outcomes:
        table.latest(*outcomes[-1], picture.counting)
    table.history(outcomes, horizon)
    return np.asarray(table.image.reduce(over))


def right(outcomes: Outcomes) -> int:
    return sum(given == asked for given, asked in outcomes)


def wrong(outcomes: Outcomes) -> int:
    return sum(given != asked >= 0 for given, asked in outcomes)


class Table:
    """An image with a pen; places and sizes are in parts of 480."""

    def __init__(self, side: int) -> None:
        self.image = Image.new("RGB", (side, side), PAPER)
        self.pen, self.u = ImageDraw.Draw(self.image), side / 480

    def text(self, x: float, y: float, words: str, height: float, colour: str, anchor: str = "mm") -> None:
        self.pen.text((x * self.u, y * self.u), words, colour, ImageFont.load_default(height * self.u), anchor)

    def box(self, x: float, y: float, half: tuple[float, float], radius: float, fill: str, line: str = GRID) -> None:
        """A rounded rectangle around (x, y)."""
        (a, b), u = half, self.u
        corners = ((x - a) * u, (y - b) * u, (x + a) * u, (y + b) * u)
        self.pen.rounded_rectangle(corners, radius * u, fill=fill, outline=line, width=round(2 * u))

    def card(self, x: float, y: float, kind: int | None, kinds: str) -> None:
        self.box(x, y, (58, 82), 10, "#9db4d6" if kind is None else CARD, GREY)
        if kind is None:
            return
        if kinds == "colors":
            self.box(x, y, (40, 62), 6, (INK, RED)[kind])
        elif kinds == "suits":
            self.suit(x, y, 30, kind)
        else:
            self.text(x, y, RANKS[kind], 60, INK)

    def suit(self, x: float, y: float, r: float, suit: int) -> None:
        """A spade, diamond, club or heart of about 2r × 2r around (x, y), in popgym's order."""
        colour, u = (INK, RED)[suit % 2], self.u

        def disc(dx: float, dy: float) -> None:
            self.pen.circle(((x + dx * r) * u, (y + dy * r) * u), 0.5 * r * u, fill=colour)

        def shape(*points: tuple[float, float]) -> None:
            self.pen.polygon([((x + dx * r) * u, (y + dy * r) * u) for dx, dy in points], fill=colour)

        if suit == 1:
            shape((0, -1), (0.75, 0), (0, 1), (-0.75, 0))
            return
        if suit == 2:
            for dx, dy in ((0, -0.5), (-0.5, 0.2), (0.5, 0.2)):
                disc(dx, dy)
        else:
            up = 1 if suit == 0 else -1  # a spade is a heart upside down, on a foot
            disc(-0.46, 0.25 * up)
            disc(0.46, 0.25 * up)
            shape((-0.92, 0.05 * up), (0, -up), (0.92, 0.05 * up), (0, 0.55 * up))
        if suit != 3:
            shape((0, 0), (0.35, 1), (-0.35, 1))

    def latest(self, given: int, asked: int, counting: bool) -> None:
        """The latest answer, and the right one where it was wrong."""
        words, colour = ("right", RIGHT) if given == asked else ("wrong, not", WRONG)
        if asked < 0:
            words, colour = "does not count", GREY
        shown = [(given, 130, INK), (asked, 360, INK)] if given != asked >= 0 else [(given, 130, INK)]
        self.text(66, 312, "answered", 16, GREY)
        self.text(240, 312, words, 18, colour)
        for value, x, ink in shown:
            if counting:
                self.text(x, 312, str(value), 26, ink)
            else:
                self.suit(x, 312, 15, value)

    def history(self, outcomes: Outcomes, horizon: int) -> None:
        """A cell for each step of the episode, row by row."""
        left, top, width, height = 16, 348, 448, 116
        columns = math.ceil(math.sqrt(horizon * width / height))
        cell = min(width / columns, height / math.ceil(horizon / columns))
        for step in range(horizon):
            x, y = left + (step % columns + 0.5) * cell, top + (step // columns + 0.5) * cell
            fill = GRID
            if step < len(outcomes):
                given, asked = outcomes[step]
                fill = UNASKED if asked < 0 else RIGHT if given == asked else WRONG
            self.box(x, y, (0.42 * cell, 0.42 * cell), 0.1 * cell, fill, fill)
