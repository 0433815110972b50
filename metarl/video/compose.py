"""Videos of adaptation: record the states of a rollout, draw them afterwards, encode frame by frame.

recording = record_adaptation(algorithm.play(env, num_envs, generator, num_steps), task)
every, fps = pace(recording)
write_video(compose(env, recording, "point · finn2017", every=every, fps=fps), "videos/point.mp4", fps)
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from envs.contract import check_image, task_dicts
from envs.core import Env
from envs.errors import InputError, require
from envs.tasks import describe_task
from metarl.backend.files import write_atomically
from metarl.video.frames import Page, Panel, Storyboard
from metarl.video.recording import Recording

SUFFIXES = (".mp4", ".gif")
TASK_NAMES = {
    "train": "training task",
    "validation": "validation task",
    "test": "held-out task",
    "ood": "out-of-distribution task",
}


def compose(
    env: Env,
    recording: Recording,
    title: str = "",
    split: str = "test",
    size: int | None = None,
    every: int = 1,
    fps: int = 20,
) -> Iterator[np.ndarray]:
    """Draw a recording: its tasks one after another.

    Stages of gradient steps play at the same time. The episodes of a trial play one after another, with the memory's
    attention, or its belief about the task, beside them.

    Args:
        title: first line of the header, such as the environment, its preset and the algorithm.
        split: which split the tasks are of; empty for others.
        size: side of a panel in pixels; by default such that a frame is about 1800 wide.
        every: environment steps per frame.
        fps: frames per second; the last frame of a task stays for 1.5 s.

    Yields:
        Frames uint8 [H, W, 3] with even H and W, equal for all; `ceil(steps / every) + 1 + round(1.5 fps)` a task,
        with as many steps as its longest episode has, times `num_episodes`.
    """
    r = recording
    size = size or max(200, min(400, 1800 // (len(r.panels) + 2 + (r.attention is not None or r.belief is not None))))
    subtitles = [describe_task(env, task) for task in task_dicts(env, r.task)]
    for n, subtitle in enumerate(subtitles):
        where = f"{TASK_NAMES.get(split, split or 'task')} {n + 1} of {len(subtitles)}  ·  {subtitle}"
        board = make_storyboard(r, n, title, where)
        page = Page(board, size)
        panels: list[Panel | None] = [None] * len(r.panels)
        steps = r.num_episodes * board.duration
        for t in chain(range(0, steps, every), [steps]):
            olds = zip(r.panels, panels, strict=True)
            panels = [draw_panel(env, r, n, board, stages, t, size, old) for stages, old in olds]
            frame = page.draw(t, panels)
            yield frame
        yield from (frame for _ in range(round(1.5 * fps)))


def make_storyboard(r: Recording, n: int, title: str, subtitle: str) -> Storyboard:
    """What the frames of task n have in common."""
    count, duration = len(r.mean_rewards), r.durations[n]
    curves = torch.nn.functional.pad(r.mean_rewards[:, n, :duration], (1, 0)).cumsum(-1).cpu().numpy()
    starts = [k * duration if r.trial else 0 for k in range(count)]
    attention = belief = None
    kept = (torch.arange(r.num_episodes * r.mean_rewards.shape[2]) % r.mean_rewards.shape[2]) < duration
    if r.attention is not None:  # time passes in which no lane is left; nothing of it is shown
        attention = r.attention[n].cpu()[kept][:, kept].numpy()
    if r.belief is not None:
        belief = r.belief[n].cpu()[:, kept].numpy()
    axis, ticks = ("episode" if r.trial else r.stages.unit), [str(k + r.trial) for k in range(count)]
    return Storyboard(
        title, subtitle, r.names, ticks, axis, curves, starts, len(r.panels), r.num_envs, attention, belief
    )


def draw_panel(
    env: Env, r: Recording, n: int, board: Storyboard, stages: range, t: int, size: int, old: Panel | None
) -> Panel | None:
    """The latest of these stages on task n at step t; `old` is what the panel showed before."""
    begun = [k for k in stages if board.starts[k] <= t]
    if not begun:
        return None
    k = begun[-1]
    episode, past = r.episodes[n][k], r.episodes[n][:k]
    length = len(episode.rewards)
    age = min(t - board.starts[k], length)
    if old is not None and (old.stage, old.age) == (k, age):
        image = old.image
    else:
        row = [whole.states for whole in r.episodes[n]]
        image = env.render_beside(row, r.task[n], episode.states[: age + 1], [other.states for other in past], size)
        check_image(env, image, size)
    ended = t - board.starts[k] >= length and length < env.horizon
    mark = f"■ ended at step {length}" if ended else ""
    return Panel(k, age, image, float(episode.rewards[:age].sum()), mark)


def check_video_path(path: str | Path, what: str = "video") -> Path:
    """The path of a video, or of a still `frame`, that can be written; makes its folder. Raises `InputError`."""
    path = Path(path)
    suffixes = SUFFIXES if what == "video" else (".png",)
    require(
        path.suffix in suffixes, f"A {what}'s name must end in {' or '.join(suffixes)}, and {str(path)!r} does not."
    )
    require(not path.is_dir(), f"The {what} cannot be written to {str(path)!r}, which is a folder.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"The {what} cannot be written to the folder {str(path.parent)!r}: {reason}.") from None
    return path


def keep_frame(frames: Iterable[np.ndarray], index: int, path: Path) -> Iterator[np.ndarray]:
    """The frames as they come; the one at `index` is also written to a PNG file, in full colour."""
    for k, frame in enumerate(frames):
        if k == index:
            write_atomically(path, partial(Image.fromarray(frame).save, format="png"))
        yield frame


def write_video(frames: Iterable[np.ndarray], path: str | Path, fps: int) -> Path:
    """Encode frames, one at a time, as H.264 (.mp4) or GIF (.gif).

    The file appears under its name when it is complete; after an error or an interruption there is none. Until then it
    grows in a temporary folder of the system's.

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
    with tempfile.TemporaryDirectory(prefix="metarl-") as folder:  # a kill leaves nothing beside the video
        part = Path(folder) / path.name
        writer = FFMPEG_VideoWriter(str(part), (width, height), fps, **options)
        process = writer.proc
        try:
            for frame in chain([first], frames):
                writer.write_frame(frame[:height, :width])
            writer.close()
            if process.returncode != 0:
                raise OSError(f"ffmpeg failed with exit status {process.returncode} while writing {path}.")
            write_atomically(path, lambda temporary: shutil.copyfile(part, temporary))
        except OSError as error:
            full = f"is the disk of {path.parent} or {tempfile.gettempdir()} full?"
            raise OSError(f"The encoder stopped while writing {path} ({full}).") from error
        finally:
            if process.poll() is None:
                process.kill()
                with suppress(OSError):
                    process.stdin.close()
                process.wait()
    return path
