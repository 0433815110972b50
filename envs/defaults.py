"""What a family has that does not say otherwise: tasks uniform over their space, and a picture of its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor

from envs.errors import InputError, require
from envs.fields import Checked, PositiveInt
from envs.structs import Struct, tensors_of

CURVES = 8


@dataclass(frozen=True)
class Horizon(Checked):
    """The configuration of a family that has no other options."""

    horizon: PositiveInt
    """Steps in an episode."""


def uniform(space: spaces.Space, n: int, generator: Generator) -> Tensor:
    """`n` draws from a space, uniform over it: [n, ...] of its dtype. Raises `InputError` where it has no bounds."""
    device, shape = generator.device, (n, *(space.shape or ()))
    if isinstance(space, spaces.MultiBinary):
        return torch.randint(2, shape, generator=generator, device=device).to(torch.int8)
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        start, count = (torch.as_tensor(x, device=device) for x in (space.start, _count(space)))
        return start + (torch.rand(shape, generator=generator, device=device, dtype=torch.float64) * count).long()
    bounded = isinstance(space, spaces.Box) and space.is_bounded()
    require(bounded, f"Tasks cannot be drawn uniformly from {space}: write sample_tasks, or give it bounds.")
    assert isinstance(space, spaces.Box)
    low, high = (torch.as_tensor(np.asarray(x), device=device) for x in (space.low, space.high))
    if space.dtype.kind in "iu":
        draw = torch.rand(shape, generator=generator, device=device, dtype=torch.float64)
        return low + (draw * (high - low + 1)).to(low.dtype)
    drawn = low + (high - low) * torch.rand(shape, generator=generator, device=device, dtype=low.dtype)
    return torch.minimum(drawn, high)


def _count(space: spaces.Discrete | spaces.MultiDiscrete) -> Any:
    return space.n if isinstance(space, spaces.Discrete) else space.nvec


def picture(episode: Struct, earlier: Sequence[Struct], size: int) -> np.ndarray:
    """The numbers of a state over an episode, a curve for each of the first of them: `uint8 [size, size, 3]`.

    Args:
        episode: the states up to now, stacked on a leading axis; the last is marked.
        earlier: earlier episodes, drawn in grey.
    """
    past, now = [_numbers(state) for state in earlier], _numbers(episode)
    image = Image.new("RGB", (size, size), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(max(8, size // 34))
    rows = now.shape[1]
    longest = max(2, *(len(x) for x in (*past, now)))
    for row in range(rows):
        seen = np.concatenate([x[:, row] for x in (*past, now)])
        low, spread = seen.min(), max(float(np.ptp(seen)), 1e-6)
        top, height = (row + 0.2) * size / rows, 0.7 * size / rows

        def points(x: np.ndarray, low: float = low, spread: float = spread, top: float = top, high: float = height):
            right = np.arange(len(x)) / (longest - 1) * 0.8 * size + 0.04 * size
            return list(zip(right.tolist(), (top + high * (1 - (x - low) / spread)).tolist(), strict=True))

        for x in past:
            draw.line(points(x[:, row]), fill="#d3d9e2", width=max(1, size // 240))
        path = points(now[:, row])
        draw.line(path, fill="#1f5fb4", width=max(1, size // 200))
        draw.circle(path[-1], max(2, size // 110), fill="#12306e")
        draw.text((0.86 * size, path[-1][1] - size // 60), f"{now[-1, row]:.3g}", fill="#12306e", font=font)
    return np.asarray(image)


def _numbers(states: Struct) -> np.ndarray:
    """[T, up to CURVES] finite numbers. Raises `InputError` for a state that holds none."""
    flat = [x.reshape(len(x), -1).double().cpu() for x in tensors_of(states)]
    numbers = torch.cat(flat, 1)[:, :CURVES] if flat else torch.empty(0, 0)
    if not numbers.numel():
        raise InputError("A state without numbers has no picture: write render.")
    return numbers.nan_to_num(0.0, 0.0, 0.0).numpy()
