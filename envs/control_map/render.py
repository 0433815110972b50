"""Pictures of reaching: the goal, the path, and where the map sends the two axes of the action."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from envs.control_map.task import ControlMapConfig, State, Task

PAPER, RING, START, PAST = "#f4f6f9", "#dfe4ea", "#7b8594", "#ccd2da"
GOAL, HALO, POINT, PATH = "#e2582f", "#fde6dc", "#12306e", "#1f5fd6"
AXES = ("#2a9d8f", "#b06fc9")
"""Colours of where the actions (1, 0) and (0, 1) lead."""


def draw(task: Task, episode: State, earlier: Sequence[State], size: int, config: ControlMapConfig) -> np.ndarray:
    """One lane as a `uint8 [size, size, 3]` image; the arguments are those of `Env.render`.

    Arrows at the start show the hidden map: the motion under each axis of the action. Paths to earlier goals are grey.
    """
    over = 3  # drawn three times as large and reduced, for smooth lines
    side, u = size * over, over * max(size / 360, 0.6)
    half = 1.7 * config.goal_distance  # fixed by the family: the view stays
    image = Image.new("RGB", (side, side), PAPER)
    pen = ImageDraw.Draw(image)

    def pixels(points: Tensor) -> list[tuple[float, float]]:
        xy = points.reshape(-1, 2).double().cpu() / half
        return [((1 + x) / 2 * side, (1 - y) / 2 * side) for x, y in xy.tolist()]

    reach = config.reach or config.horizon
    paths = [part for states in (*earlier, episode) for part in split(states, reach)]
    pen.circle((side / 2, side / 2), config.goal_distance / half * side / 2, outline=RING, width=round(2 * u))
    for past in paths[:-1]:
        pen.line(pixels(past.position), fill=PAST, width=round(2 * u), joint="curve")
        pen.circle(pixels(past.goal[0])[0], 4 * u, outline=PAST, width=round(2 * u))
    current = paths[-1]
    index = min(int(episode.time[-1]) // reach, config.num_reaches - 1)
    for column, colour in zip(task.control[index].T, AXES, strict=True):
        _arrow(pen, (side / 2, side / 2), pixels(config.max_step * column)[0], colour, u)
    pen.circle((side / 2, side / 2), 4.5 * u, fill="#ffffff", outline=START, width=round(2 * u))
    (goal,), path = pixels(current.goal[-1]), pixels(current.position)
    pen.circle(goal, 20 * u, fill=HALO)
    pen.circle(goal, 10 * u, outline=GOAL, width=round(2.6 * u))
    pen.circle(goal, 4 * u, fill=GOAL)
    for a, b in itertools.pairwise(path):
        pen.line((a, b), fill=PATH, width=round(2.6 * u))
        pen.circle(b, 2.6 * u, fill=PATH)
    x, y = (min(max(v, 6 * u), side - 6 * u) for v in path[-1])
    inside = (x, y) == path[-1]  # a point beyond the edge shows as a hollow mark on it
    pen.circle((x, y), 7.5 * u, fill="#ffffff")
    pen.circle((x, y), 5.5 * u, fill=POINT if inside else "#ffffff", outline=POINT, width=round(1.5 * u))
    return np.asarray(image.reduce(over))


def split(states: State, reach: int) -> list[State]:
    """The states [t] of an episode as one part for each goal, which the point approaches from the start."""
    times = states.time.tolist()
    starts = [
        i for i, time in enumerate(times) if i == 0 or (time % reach == 0 and bool((states.position[i] == 0).all()))
    ]
    return [states[a:b] for a, b in itertools.pairwise([*starts, len(times)])]


def _arrow(
    pen: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], colour: str, u: float
) -> None:
    pen.line((start, end), fill=colour, width=round(3 * u))
    along = np.subtract(end, start)
    along = along / max(float(np.hypot(*along)), 1e-9) * 7 * u
    across = np.array([-along[1], along[0]]) * 0.6
    tips = [np.add(end, along), np.add(end, across), np.subtract(end, across)]
    pen.polygon([tuple(tip.tolist()) for tip in tips], fill=colour)
