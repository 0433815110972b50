"""What stands beside the panels of a trial: the memory's attention to its past, or the belief about the task."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageColor, ImageDraw

PAPER, DEEP, PRESENT = "#f4f6f9", "#123a8c", "#e07b1f"
"""Colours of what has not happened yet, of the largest shares of attention, and of the present step."""
BORDER, BAND = "#c3cad4", "#a9bfe8"
"""Colours of lines between episodes, and of a belief within one standard deviation."""
MOST_LATENTS = 10
"""Of a belief with more, the first are drawn."""


def draw_attention(attention: np.ndarray, t: int, size: int, duration: int) -> np.ndarray:
    """A memory's attention as a heat map, uint8 [size, size, 3]: rows are steps, columns the steps before them.

    It holds the rows up to step t, whose row is framed. White is no share, and the darkest shade twice the share that
    all earlier steps would have if they counted alike.

    Args:
        attention: share of each earlier step in what each step retrieves, [T, T].
        duration: steps of an episode; their borders are lines.
    """
    steps = len(attention)
    attention = np.tril(attention, -1)
    entries = (attention > 0).sum(1, keepdims=True)
    shade = np.minimum(attention * entries / 2, 1)[..., None]
    paper, deep = (np.array(ImageColor.getrgb(colour)) for colour in (PAPER, DEEP))
    row, column = np.ogrid[:steps, :steps]
    seen = ((column < row) & (row <= t))[..., None]
    colours = np.where(seen, 255 + shade * (deep - 255), paper).round().astype(np.uint8)
    image = Image.fromarray(colours).resize((size, size), Image.Resampling.BOX)
    draw = ImageDraw.Draw(image)
    for border in range(duration, steps, duration):
        at = round(border * size / steps)
        draw.line((at, 0, at, size), BORDER)
        draw.line((0, at, size, at), BORDER)
    if t < steps:
        top, bottom = round(t * size / steps), round((t + 1) * size / steps)
        draw.rectangle((0, top - 1, size - 1, max(bottom, top + 1)), outline=PRESENT, width=1 + size // steps // 20)
    return np.asarray(image)


def draw_belief(belief: np.ndarray, t: int, size: int, duration: int) -> np.ndarray:
    """A belief over the trial, uint8 [size, size, 3]: a row for each latent, its mean as a line in a band of ± one std.

    It holds the steps up to t, which is marked. All rows have one scale, with room for 0 ± 1, the belief at the start.

    Args:
        belief: mean and standard deviation after each step, [2, T, L].
        duration: steps of an episode; their borders are lines.
    """
    mean, std = belief[..., :MOST_LATENTS]
    steps, rows = mean.shape
    image = Image.new("RGB", (size, size), PAPER)
    draw = ImageDraw.Draw(image)
    for border in range(duration, steps, duration):
        at = round(border * size / steps)
        draw.line((at, 0, at, size), BORDER)
    half = size / rows / 2 - 2
    unit = half / max(1.0, float((np.abs(mean) + std).max()))
    x = (np.arange(min(t + 1, steps)) + 0.5) * size / steps
    for k in range(rows):
        middle = (k + 0.5) * size / rows
        low, line, high = (middle - unit * (mean + sign * std)[: len(x), k] for sign in (-1, 0, 1))
        draw.polygon([*zip(x, low, strict=True), *zip(x[::-1], high[::-1], strict=True)], BAND, BAND)
        draw.line((0, middle, size, middle), BORDER)
        draw.line([*zip(x, line, strict=True)], DEEP, 2)
        if k:
            draw.line((0, k * size / rows, size, k * size / rows), "white", 2)
    if t < steps:
        draw.line((x[-1], 0, x[-1], size), PRESENT)
    return np.asarray(image)
