"""Pictures of a contextual bandit: a row for each context with its arms, what they have paid, and which is the best."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from envs.contextual_bandit.task import ContextualBanditConfig, State, Task

PAPER, BLANK, INK, HERE = "#f4f6f9", "#ffffff", "#2b3440", "#fde6dc"
PAID, FAILED, TRUE = "#2f6fe0", "#c3cad4", "#e2582f"


def draw(task: Task, episode: State, earlier: Sequence[State], size: int, config: ContextualBanditConfig) -> np.ndarray:
    """One lane as a `uint8 [size, size, 3]` image; the arguments are those of `Env.render`.

    A cell is an arm in a context: blue if it has paid in this trial, grey if it was tried in vain. Best arms have a red
    frame. The context that is seen now is shaded.
    """
    over = 2  # drawn twice as large and reduced, for smooth edges
    side, u = size * over, size * over / 480
    image = Image.new("RGB", (side, side), PAPER)
    pen = ImageDraw.Draw(image)
    paid, failed = outcomes([*earlier, episode])
    font, total = ImageFont.load_default(19 * u), float(episode.reward.sum())
    pen.text((16 * u, 26 * u), f"step {len(episode.arm) - 1} of {config.horizon}", INK, font, "lm")
    pen.text((side - 16 * u, 26 * u), f"reward {total:.0f}", INK, font, "rm")

    left, top, width, height = 16 * u, 50 * u, side - 32 * u, side - 66 * u
    columns, rows, cell = layout(config.num_contexts, config.num_arms + 1, width, height)
    best, here = task.best.tolist(), int(episode.context[-1])
    gap, line = 0.08 * cell, max(1, round(0.09 * cell))
    for context in range(config.num_contexts):
        x = left + context // rows * (width / columns)
        y = top + context % rows * cell
        if context == here:
            pen.rectangle((x - gap, y - gap, x + config.num_arms * cell + gap, y + cell + gap), fill=HERE)
        for arm in range(config.num_arms):
            key = context, arm
            colour = PAID if key in paid else FAILED if key in failed else BLANK
            a, b = x + arm * cell + gap, y + gap
            outline = TRUE if arm == best[context] else None
            pen.rectangle((a, b, a + cell - 2 * gap, b + cell - 2 * gap), fill=colour, outline=outline, width=line)
    return np.asarray(image.reduce(over))


def outcomes(episodes: Sequence[State]) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """The (context, arm) that have paid, and those that have not, in episodes [t] of one lane."""
    paid: set[tuple[int, int]] = set()
    failed: set[tuple[int, int]] = set()
    for states in episodes:
        pulls = zip(states.context[:-1].tolist(), states.arm[1:].tolist(), states.reward[1:].tolist(), strict=True)
        for context, arm, reward in pulls:
            (paid if reward else failed).add((context, arm))
    return paid, failed


def layout(num_rows: int, row_cells: int, width: float, height: float) -> tuple[int, int, float]:
    """Columns of rows, rows in each, and the side of the largest square cells with which all rows fit."""

    def fit(columns: int) -> tuple[float, int, int]:
        rows = math.ceil(num_rows / columns)
        return min(width / (columns * row_cells), height / rows), columns, rows

    cell, columns, rows = max((fit(columns) for columns in range(1, num_rows + 1)), key=lambda found: found[0])
    return columns, rows, min(cell, height / 8)
