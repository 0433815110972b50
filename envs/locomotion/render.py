"""Pictures of a robot: the scene, the goal and the current value, and a chart of the whole episode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from envs.locomotion.picture import Chart, Mark, Picture
from envs.locomotion.stage import FIELD, Stage, stage

PAPER, TRACK, GRID, MUTED, PAST = "#f4f6f9", "#ffffff", "#dfe4ea", "#6d7683", "#ccd2da"
NOW, GOAL = "#1f5fb4", "#e2582f"
GOAL_RGB = (0.886, 0.345, 0.184)
SCENE = 0.70  # of the image's height
OVER = 2  # the chart is drawn twice as large and reduced, for smooth lines
RECENT = 5  # states over which the number "now" is averaged: velocities of single steps are no reading


def draw(picture: Picture, size: int) -> np.ndarray:
    """A `uint8 [size, size, 3]` image.

    Above, the scene, with a camera that follows the robot over squares of 1 m. Below, the task's chart: this episode
    in blue, earlier ones in grey, the target as a dashed line; its axis holds all episodes of the row.

    Raises:
        InputError: when there is no OpenGL here.
    """
    high = round(SCENE * size)
    scene, chart, marks = stage(picture.model, size, high), picture.chart, picture.marks
    image = Image.new("RGB", (size, size), PAPER)
    image.paste(film(scene, picture.planar, picture.paths, marks), (0, 0))
    image.paste(plot(picture, size, size - high), (0, high))
    pen = ImageDraw.Draw(image)
    if picture.planar:
        number_metres(pen, scene, size)
    unit = chart.label.removesuffix(")").partition(" (")[2]
    edge, letters = round(0.03 * size), font(18, size)
    halo: dict[str, Any] = {"stroke_width": max(1, round(size / 240)), "stroke_fill": PAPER}
    asked = goal(chart, marks, unit, picture.planar)
    pen.text((edge, edge), asked and f"goal {asked}", GOAL, letters, "lt", **halo)
    now = signed(float(np.mean(chart.values[-RECENT:])))
    widest = pen.textlength(f"goal {asked}  now −00.00 {unit}", letters)  # beside each other, or one below the other
    top = edge if widest <= size - 2 * edge else edge + round(1.5 * letters.size)
    pen.text((size - edge, top), f"now {now} {unit}", NOW, letters, "rt", **halo)
    return np.asarray(image)


def goal(chart: Chart, marks: Sequence[Mark], unit: str, planar: bool) -> str:
    """The goal in words: of the first mark, or else of the chart; empty where the task has none."""
    if marks and marks[0].place:
        return "({}, {}) m".format(*(signed(x, 1) for x in marks[0].place))
    if marks and planar:
        return "forward" if math.cos(marks[0].angle) > 0 else "backward"
    if marks:
        return f"{math.degrees(marks[0].angle) % 360:.0f}°"
    return "" if chart.target is None else f"{signed(chart.target)} {unit}"


def film(scene: Stage, planar: bool, paths: Sequence[np.ndarray], marks: Sequence[Mark]) -> Image.Image:
    """The scene at the end of the first path of positions [t, nq]; the other paths are trails of earlier episodes."""
    x, y, z = scene.pose(paths[0][-1])
    width, height = scene.extent
    aspect, view = scene.width / scene.height, 2 * math.tan(math.radians(FIELD / 2))
    if planar:
        distance = max(2.05 * width / aspect, 1.5 * height) / view
        scene.look((x, 0.0, max(0.42 * height, z - 0.35 * distance * view)), distance, 90, -11)
    else:
        places = [mark.place for mark in marks if mark.place]
        ahead = np.array(places[0]) - (x, y) if places else np.zeros(2)  # a goal stays in sight up to 8 m
        apart = float(np.linalg.norm(ahead))
        ahead *= min(1.0, 8 / max(apart, 1e-9)) / 2
        distance = 1.7 * width / view + 0.9 * min(apart, 8.0)
        scene.look((x + ahead[0], y + ahead[1], max(0.45 * height, z - 0.3 * height)), distance, 90, -38)
        for age, path in enumerate(paths):
            trail(scene, path[:, :2], (0.12, 0.37, 0.71, 0.75) if age == 0 else (0.66, 0.71, 0.78, 0.8))
    for mark in marks:
        if mark.place:
            for radius, low, alpha in ((0.3, 0.0, 0.3), (0.12, 0.005, 1.0)):
                scene.add("cylinder", (*mark.place, low), (*mark.place, low + 0.005), radius, (*GOAL_RGB, alpha))
        else:
            way = np.array([math.cos(mark.angle), math.sin(mark.angle), 0.0])
            start = np.array([x, -0.35 if planar else y, 0.03]) + way * (0.0 if planar else 0.5 * width)
            scene.add("arrow", start, start + (0.6 if planar else 0.45) * width * way, 0.035, (*GOAL_RGB, 1.0))
    return scene.image()


def trail(scene: Stage, path: np.ndarray, colour: Sequence[float]) -> None:
    """A line on the ground through places [t, 2], in at most 60 pieces."""
    kept = path[np.unique(np.linspace(0, len(path) - 1, 61).round().astype(int))]
    for a, b in pairwise(kept):
        scene.add("capsule", (*a, -0.012), (*b, -0.012), 0.018, colour)


def number_metres(pen: ImageDraw.ImageDraw, scene: Stage, size: int) -> None:
    """Write x on the lines between the squares in front of a planar robot."""
    x = scene.camera.lookat[0]
    metres = np.arange(math.floor(x) - 4, math.ceil(x) + 5)
    front = np.stack([metres, np.full(len(metres), -0.62), np.zeros(len(metres))], -1)
    for metre, (left, top, _) in zip(metres, scene.project(front), strict=True):
        words = f"{metre} m".replace("-", "−")
        if abs(left - size / 2) < (size - pen.textlength(words, font(12, size))) / 2 - 1:
            pen.text((left, top), words, MUTED, font(12, size), "mm")


def plot(picture: Picture, width: int, height: int) -> Image.Image:
    """The chart, `width` x `height` pixels; time runs over the whole horizon."""
    chart, horizon = picture.chart, picture.horizon
    big, u = (width * OVER, height * OVER), OVER * (width / 480) ** 0.6
    image = Image.new("RGB", big, PAPER)
    pen, small = ImageDraw.Draw(image), font(12, width, OVER)
    low, high, step = limits([chart.values, *picture.past, *picture.row], chart.target)
    left, right, top, bottom = 34 * u, big[0] - 14 * u, 24 * u, big[1] - 10 * u

    def at(t: np.ndarray, value: np.ndarray) -> list[tuple[float, float]]:
        x = left + t / horizon * (right - left)
        y = bottom - (value - low) / (high - low) * (bottom - top)
        return list(zip(x.tolist(), y.tolist(), strict=True))

    def line(values: np.ndarray, colour: str, thick: float) -> list[tuple[float, float]]:
        points = at(np.arange(len(values)), np.clip(values, low, high))
        pen.line(points, fill=colour, width=round(thick * u), joint="curve")
        return points

    pen.rectangle((left, top, right, bottom), TRACK)
    for tick in np.arange(low, high + step / 2, step):
        (x, y), (end, _) = at(np.array([0, horizon]), np.array([tick, tick]))
        pen.line((x, y, end, y), GRID, round((2 if abs(tick) < step / 2 else 1) * u))
        pen.text((left - 6 * u, y), f"{tick:g}".replace("-", "−"), MUTED, small, "rm")
    pen.text((left, top - 6 * u), chart.label, MUTED, small, "ls")
    pen.text((right, top - 6 * u), f"{picture.duration:g} s", MUTED, small, "rs")
    for values in picture.past:
        line(values, PAST, 1.4)
    if chart.target is not None:
        (x, y), (end, _) = at(np.array([0, horizon]), np.full(2, chart.target))
        while x < end:
            pen.line((x, y, min(x + 9 * u, end), y), GOAL, round(2.2 * u))
            x += 15 * u
    x, y = line(chart.values, NOW, 2.2)[-1]
    pen.circle((x, y), 4 * u, NOW, TRACK, round(1.2 * u))
    return image.reduce(OVER)


def limits(curves: Sequence[np.ndarray], target: float | None) -> tuple[float, float, float]:
    """Ends of an axis that holds all curves, 0 and the target with room above it, and the step of its ticks."""
    held = np.concatenate([*curves, [0.0, 1.3 * target if target else 1.0]])
    low, high = float(held.min()), float(held.max())
    rough = max(high - low, 1e-6) / 3
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    return step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9), step


@cache
def font(points: float, size: int, over: int = 1) -> ImageFont.FreeTypeFont:
    """Letters of `points` in an image of 480 pixels; in smaller ones they shrink less than the image does."""
    from matplotlib import get_data_path  # its font is that of the charts, and has a minus sign

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", over * points * (size / 480) ** 0.6)


def signed(x: float, digits: int = 2) -> str:
    """Fixed-point, with a true minus sign, and none before a zero."""
    return f"{round(x, digits) + 0.0:.{digits}f}".replace("-", "−")
