"""Pictures of a bandit: a column for each arm, with what is true, what was seen and how often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from envs.bandit.task import BanditConfig, State, Task

PAPER, TRACK, GRID, INK, GREY = "#f4f6f9", "#ffffff", "#dfe4ea", "#2b3440", "#7b8594"
SEEN, PULLED, PULLED_TRACK, TRUE = "#8fb4f0", "#2f6fe0", "#e3edff", "#e2582f"


def draw(task: Task, episode: State, earlier: Sequence[State], size: int, config: BanditConfig) -> np.ndarray:
    """One lane as a `uint8 [size, size, 3]` image; the arguments are those of `Env.render`.

    Above, a bar up to the mean of the rewards that were seen from each arm, and a red line at its true mean. Below,
    how often it was pulled; grey marks show where earlier episodes ended. The last pull is dark, its reward on top.
    """
    over = 2  # drawn twice as large and reduced, for smooth edges
    side, u = size * over, size * over / 480
    image = Image.new("RGB", (side, side), PAPER)
    pen = ImageDraw.Draw(image)
    true = task.mean.double().cpu().numpy()  # [K]
    pulls, rewards = (x.double().cpu().numpy() for x in (episode.pulls, episode.rewards))  # [t + 1, K]
    arm = int((pulls[-1] - pulls[-2]).argmax()) if len(pulls) > 1 else -1

    gaussian = config.rewards == "gaussian"  # the scale is fixed by the task: the view stays
    low, high = (min(0.0, true.min()) - 1, max(0.0, true.max()) + 1) if gaussian else (0.0, 1.0)
    left, right, top, bottom, under, floor = 44 * u, 464 * u, 78 * u, 318 * u, 344 * u, 436 * u
    width = (right - left) / len(true)
    half = 0.36 * width if len(true) > 20 else min(0.36 * width, 30 * u)

    def height(value: float) -> float:
        return bottom - (min(max(value, low), high) - low) / (high - low) * (bottom - top)

    def depth(count: float) -> float:
        return under + (count / config.horizon) ** 0.5 * (floor - under)

    def text(x: float, y: float, words: str, points: float, colour: str, anchor: str = "mm") -> None:
        font, halo = ImageFont.load_default(points * u), round(2 * u)
        pen.text((x, y), words, colour, font, anchor, stroke_width=halo, stroke_fill=PAPER)

    total = rewards[-1].sum()
    text(16 * u, 26 * u, f"pull {pulls[-1].sum():.0f} of {config.horizon}", 19, INK, "lm")
    text(right, 26 * u, f"reward {total:.{int(gaussian)}f}", 19, INK, "rm")
    text(right, 464 * u, "pulls, square-root scale", 12, GREY, "rm")
    pen.line((left, 464 * u, left + 16 * u, 464 * u), fill=TRUE, width=round(3 * u))
    text(left + 22 * u, 464 * u, "true mean", 12, GREY, "lm")
    pen.rectangle((left + 92 * u, 459 * u, left + 104 * u, 469 * u), fill=SEEN)
    text(left + 110 * u, 464 * u, "mean seen", 12, GREY, "lm")
    for i in range(len(true)):
        middle = left + (i + 0.5) * width
        for a, b in ((top, bottom), (under, floor)):
            pen.rectangle((middle - half, a, middle + half, b), fill=PULLED_TRACK if i == arm else TRACK)
    ticks = np.arange(np.ceil(low), high + 1e-9, max(1, round((high - low) / 6))) if gaussian else (0.0, 0.5, 1.0)
    for tick in ticks:
        pen.line((left, height(tick), right, height(tick)), fill=GRID, width=round(1.5 * u))
        text(left - 6 * u, height(tick), f"{tick:g}", 13, GREY, "rm")
    past_pulls = [past.pulls[-1].tolist() for past in earlier]
    for i in range(len(true)):
        middle, count = left + (i + 0.5) * width, pulls[-1, i]
        a, b = middle - half, middle + half
        colour = PULLED if i == arm else SEEN
        if count:
            y = sorted((height(rewards[-1, i] / count), height(0.0)))
            pen.rectangle((a, y[0] - u, b, y[1] + u), fill=colour)
            pen.rectangle((a, under, b, depth(count)), fill=colour)
        for past in past_pulls:
            pen.line((a, depth(past[i]), b, depth(past[i])), fill="#aab2bd", width=round(2 * u))
        reach = max(1.25 * half, 1.5 * u)
        pen.line((middle - reach, height(true[i]), middle + reach, height(true[i])), fill=TRUE, width=round(3 * u))
        if width > 24 * u:
            text(middle, min(depth(count) + 10 * u, floor + 8 * u), f"{count:.0f}", 13, INK)
        if i == arm:
            last = rewards[-1, i] - rewards[-2, i]
            words = f"{last:+.1f}" if gaussian else f"{last:+.0f}" if last else "0"
            text(min(max(middle, left + 14 * u), right - 14 * u), top - 17 * u, words, 20, PULLED if last > 0 else GREY)
    return np.asarray(image.reduce(over))
