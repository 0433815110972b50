"""Pictures of glyphs: the instance to be labelled, how often each letter was answered right, and the last answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from envs.glyphs.letters import SIDE, letters
from envs.glyphs.task import GlyphsConfig, State, Task

PAPER, TRACK, INK, GREY = "#f4f6f9", "#e3e8ef", "#2b3440", "#7b8594"
RIGHT, WRONG, ASKED = "#2f9e5f", "#e2582f", "#e0a02f"
STRIP = 10


def draw(task: Task, episode: State, earlier: Sequence[State], size: int, config: GlyphsConfig) -> np.ndarray:
    """One lane as a `uint8 [size, size, 3]` image; the arguments are those of `Env.render`.

    Left, the instance shown now. Right, a row for each letter with its label and a box for each time it was shown:
    green where the answer was right, red where it was wrong, yellow where its label was asked for. Below, the last
    instances with the answers to them.
    """
    over = 2  # drawn twice as large and reduced, for smooth edges
    side, u = size * over, size * over / 480
    picture = Image.new("RGB", (side, side), PAPER)
    pen = ImageDraw.Draw(picture)
    shown = episode.image.cpu().numpy().reshape(-1, SIDE, SIDE)  # [t + 1, 28, 28]
    label, answer = episode.label[-1].tolist(), episode.answer[-1].tolist()
    time = len(shown) - 1

    def text(x: float, y: float, words: str, points: float, colour: str, anchor: str) -> None:
        pen.text((x * u, y * u), words, colour, ImageFont.load_default(points * u), anchor)

    def glyph(x: float, y: float, width: float, image: np.ndarray) -> None:
        inked = Image.fromarray(255 - image).resize((round(width * u),) * 2, Image.Resampling.NEAREST)
        picture.paste(inked.convert("RGB"), (round(x * u), round(y * u)))

    def box(x: float, y: float, width: float, height: float, colour: str) -> None:
        pen.rectangle((x * u, y * u, (x + width) * u, (y + height) * u), fill=colour)

    def colour_of(t: int) -> str:
        return ASKED if answer[t] == config.num_letters else RIGHT if answer[t] == label[t] else WRONG

    right = sum(answer[t] == label[t] for t in range(time))
    text(16, 26, f"instance {min(time + 1, config.horizon)} of {config.horizon}", 19, INK, "lm")
    text(464, 26, f"{right} right of {time}", 19, INK, "rm")
    glyph(16, 52, 196, shown[-1])
    text(16, 268, "now shown" if time < config.horizon else "all are answered", 13, GREY, "lm")
    if time:
        word = "asked for the label" if answer[time - 1] == config.num_letters else f"answered {answer[time - 1]}"
        text(16, 298, f"before: {word}", 17, colour_of(time - 1), "lm")
        text(16, 322, f"it was {label[time - 1]}", 17, INK, "lm")

    known, row = letters(), min(48.0, 288 / config.num_letters)
    upright = known.upright[np.searchsorted(known.code, task.letter.cpu().numpy())]
    width = 162 / -(-config.horizon // config.num_letters)
    for k, image in enumerate(upright):
        y = 52 + k * row
        text(246, y + row / 2, str(k), min(17, 0.7 * row), INK, "rm")
        glyph(254, y + 0.06 * row, 0.88 * row, image)
        times = [t for t in range(config.horizon) if label[t] == k]
        for n, t in enumerate(times):
            box(302 + n * width, y + 0.2 * row, width - 2, 0.6 * row, colour_of(t) if t < time else TRACK)
    for n, t in enumerate(range(max(0, time - STRIP), time)):
        x = 16 + n * 45
        glyph(x, 372, 42, shown[t])
        box(x, 416, 42, 4, colour_of(t))
        text(x + 21, 434, "?" if answer[t] == config.num_letters else str(answer[t]), 16, colour_of(t), "mm")
    text(16, 460, "the last answers: green right, red wrong" + ", yellow asked" * config.active, 12, GREY, "lm")
    return np.asarray(picture.reduce(over))
