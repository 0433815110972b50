"""Videos of adaptation: record the states of a rollout, draw them afterwards, encode frame by frame.

recording = record_adaptation(algorithm.play(env, num_envs, generator, num_steps), task)
every, fps = pace(recording)
write_video(compose(env, recording, "point · finn2017", every=every, fps=fps), "videos/point.mp4", fps)
"""

from __future__ import annotations

import os
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from envs.core import Env
from envs.errors import InputError, require
from envs.structs import Struct
from envs.tasks import describe_task
from metarl.plot import INK, MUTED, GrowingChart, number, step_colours
from metarl.rollout import Play

SUFFIXES = (".mp4", ".gif")
TASK_NAMES = {"train": "training task", "test": "held-out task", "ood": "out-of-distribution task"}


@dataclass(frozen=True, eq=False)
class Episode:
    """One lane's episode, cut at its termination."""

    states: Struct  # [t + 1, ...], from the start to the end
    rewards: Tensor  # [t]


@dataclass(frozen=True, eq=False)
class Recording:
    """What `compose` draws: N tasks, each before adaptation and after 1..K steps of it.

    Attributes:
        task: [N].
        episodes: `episodes[n][k]` is lane 0 on task n after k adaptation steps.
        mean_rewards: rewards averaged over all lanes, [K + 1, N, T]; 0 after a lane's termination.
        durations: length of the longest episode of each task, over all lanes and k, in steps.
        num_envs: lanes behind each mean.
    """

    task: Struct
    episodes: list[list[Episode]]
    mean_rewards: Tensor
    durations: list[int]
    num_envs: int

    @property
    def returns(self) -> Tensor:
        """Mean return over all lanes [K + 1, N], the adaptation curve of each task."""
        return self.mean_rewards.sum(-1)


def record_adaptation(play: Play, task: Struct) -> Recording:
    """Play on these tasks and keep lane 0 of each stage of adaptation."""
    states: list[list] = []
    trajectories = play(task, states)
    episodes: list[list[Episode]] = [[] for _ in trajectories[0].obs]
    for trajectory, steps in zip(trajectories, states, strict=True):
        lane = Struct.stack([state[:, 0] for state in steps], 1)  # [N, T + 1, ...]
        for n, length in enumerate(trajectory.mask[:, :, 0].sum(1).int().tolist()):
            episodes[n].append(Episode(lane[n, : length + 1], trajectory.reward[n, :length, 0]))
    lengths = torch.stack([t.mask.sum(1).amax(1) for t in trajectories])  # [K + 1, N]
    mean_rewards = torch.stack([t.reward.mean(-1) for t in trajectories])
    return Recording(task, episodes, mean_rewards, lengths.amax(0).int().tolist(), trajectories[0].reward.shape[2])


def pace(recording: Recording) -> tuple[int, int]:
    """Steps per frame and frames per second at which the longest task plays in 3 to 8 s, in at most 150 frames."""
    longest = max(recording.durations)
    every = max(1, round(longest / 100))
    return every, min(30, max(6, round(longest / every / 5)))


def compose(
    env: Env,
    recording: Recording,
    title: str = "",
    split: str = "test",
    unit: str = "gradient steps",
    size: int | None = None,
    every: int = 1,
    fps: int = 20,
) -> Iterator[np.ndarray]:
    """Draw a recording: its tasks one after another, and for each all adaptation steps at the same time.

    Args:
        title: first line of the header, such as the environment, its preset and the algorithm.
        split: which split the tasks are of.
        unit: name of adaptation steps, in the plural.
        size: side of a panel in pixels; by default such that a frame is about 1800 wide.
        every: environment steps per frame.
        fps: frames per second; the last frame of a task stays for 1.5 s.

    Yields:
        Frames uint8 [H, W, 3] with even H and W, equal for all; `ceil(duration / every) + 1 + round(1.5 fps)` a task.
    """
    curves = torch.nn.functional.pad(recording.mean_rewards, (1, 0)).cumsum(-1).cpu().numpy()  # [K + 1, N, T + 1]
    size = size or max(200, min(400, 1800 // (len(curves) + 2)))
    tasks = env.task_to_dicts(recording.task)
    for n, (episodes, duration) in enumerate(zip(recording.episodes, recording.durations, strict=True)):
        subtitle = f"{TASK_NAMES.get(split, split)} {n + 1} of {len(tasks)}  ·  {describe_task(env, tasks[n])}"
        page = Page(title, subtitle, unit, curves[:, n, : duration + 1], recording.num_envs, size)
        drawn, panels = [-1] * len(episodes), [np.empty(0)] * len(episodes)
        for t in chain(range(0, duration, every), [duration]):
            status = []
            for k, episode in enumerate(episodes):
                length = len(episode.rewards)
                now = min(t, length)
                if now != drawn[k]:
                    earlier = [past.states for past in episodes[:k]]
                    panels[k] = env.render(recording.task[n], episode.states[: now + 1], earlier, size)
                    drawn[k] = now
                ended = t >= length and length < env.horizon
                status.append((float(episode.rewards[:now].sum()), f"■ ended at step {length}" if ended else ""))
            frame = page.draw(t, panels, status)
            yield frame
        yield from (frame for _ in range(round(1.5 * fps)))


class Page:
    """One task's frames. What stands still is drawn once; panels, curves and numbers go over it."""

    top, margin, gap = 132, 24, 16  # pixels: header and captions, edges, between panels

    def __init__(self, title: str, subtitle: str, unit: str, curves: np.ndarray, num_envs: int, size: int) -> None:
        """curves: mean return so far, [K + 1, duration + 1]."""
        self.size, self.duration = size, curves.shape[1] - 1
        self.digits = int(np.ptp(curves) < 100) + int(np.ptp(curves) < 10)
        colours = step_colours(len(curves))
        self.left = [self.margin + k * (size + self.gap) for k in range(len(curves))]
        self.chart = GrowingChart(curves, colours, unit, round(1.2 * size) + 56, size)
        self.right = self.left[-1] + size + self.gap + 12
        width, height = self.right + self.chart.width + self.margin, self.top + size + self.margin
        self.image = Image.new("RGB", (width + width % 2, height + height % 2), "white")
        draw = ImageDraw.Draw(self.image)
        room = (self.right + self.chart.width - self.margin - 130) // 9  # letters before the clock
        draw.text((self.margin, 42), title, INK, font(21, bold=True), "ls")
        draw.text((self.margin, 70), textwrap.shorten(subtitle, room, placeholder=" …"), MUTED, font(16), "ls")
        for k, x in enumerate(self.left):
            name = f"after {k} {unit if k > 1 else unit.removesuffix('s')}" if k else "before adaptation"
            draw.text((x, self.top - 32), name, INK, font(15, bold=True), "ls")
            draw.rectangle((x, self.top - 4, x + size - 1, self.top - 1), colours[k])
        lanes = f"mean of {num_envs} episodes" if num_envs > 1 else "of this episode"
        draw.text((self.chart_left, self.top - 32), "return so far", INK, font(15, bold=True), "ls")
        draw.text((self.chart_left, self.top - 12), lanes, MUTED, font(14), "ls")

    @property
    def chart_left(self) -> int:
        return self.right + self.chart.inset

    def draw(self, t: int, panels: Sequence[np.ndarray], status: Sequence[tuple[float, str]]) -> np.ndarray:
        """The frame at step t. status: the shown episode's return so far and its mark, for each panel."""
        image = self.image.copy()
        draw = ImageDraw.Draw(image)
        for x, panel, (total, mark) in zip(self.left, panels, status, strict=True):
            image.paste(Image.fromarray(panel), (x, self.top))
            draw.text((x, self.top - 12), f"return {number(total, self.digits)}", MUTED, font(14), "ls")
            short = mark if self.size >= 260 else " ".join(mark.split()[:2])
            draw.text((x + self.size, self.top - 12), short, INK, font(14), "rs")
        pixels, heads = self.chart.draw(t)
        image.paste(Image.fromarray(pixels), (self.right, self.top))
        halo: dict[str, Any] = {"stroke_width": 2, "stroke_fill": "white"}
        for dx, dy, value in heads:
            at = self.right + dx, self.top + dy - 9
            draw.text(at, number(value, self.digits), INK, font(12), "ms", **halo)
        clock = f"step {t} of {self.duration}"
        draw.text((self.right + self.chart.width - 8, 70), clock, MUTED, font(16), "rs")
        return np.asarray(image)


@cache
def font(pixels: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font of the charts, which comes with Matplotlib."""
    from matplotlib import get_data_path

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans{'-Bold' if bold else ''}.ttf", pixels)


def check_video_path(path: str | Path) -> Path:
    """The path of a video that can be written; makes its folder. Raises `InputError`."""
    path = Path(path)
    require(path.suffix in SUFFIXES, f"A video's name must end in {' or '.join(SUFFIXES)}, and {str(path)!r} does not.")
    require(not path.is_dir(), f"The video cannot be written to {str(path)!r}, which is a folder.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"The video cannot be written to the folder {str(path.parent)!r}: {reason}.") from None
    return path


def write_video(frames: Iterable[np.ndarray], path: str | Path, fps: int) -> Path:
    """Encode frames, one at a time, as H.264 (.mp4) or GIF (.gif).

    The file appears under its name when it is complete; after an error or an interruption there is none.

    Args:
        frames: uint8 [H, W, 3], all equal in size; an odd H or W loses its last row or column.
        path: ends in .mp4 or .gif; its folder is made.
        fps: frames per second.

    Returns:
        The path.

    Raises:
        InputError: for another suffix, a folder that cannot be written, or no frames.
        OSError: when the encoder fails, such as on a full disk.
    """
    from moviepy.video.io.ffmpeg_writer import FFMPEG_VideoWriter

    path = check_video_path(path)
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise InputError("A video needs at least one frame.")
    height, width = (side - side % 2 for side in first.shape[:2])
    options: dict[str, Any] = {"codec": "libx264", "preset": "medium", "ffmpeg_params": ["-crf", "29"]}
    if path.suffix == ".gif":
        palette = "split[a][b];[a]palettegen=stats_mode=diff[p];[b][p]paletteuse=dither=none"
        options = {"codec": "gif", "ffmpeg_params": ["-vf", palette]}
    part = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    writer = FFMPEG_VideoWriter(str(part), (width, height), fps, **options)
    process = writer.proc
    try:
        for frame in chain([first], frames):
            writer.write_frame(frame[:height, :width])
        writer.close()
        if process.returncode != 0:
            raise OSError(f"ffmpeg failed with exit status {process.returncode} while writing {path}.")
        part.replace(path)
    except OSError as error:
        raise OSError(f"The encoder stopped while writing {path} (is the disk full?).") from error
    finally:
        if process.poll() is None:
            process.kill()
            with suppress(OSError):
                process.stdin.close()
            process.wait()
        part.unlink(missing_ok=True)
    return path
