"""Kinds of observations and actions that a family may have."""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np
import torch
from gymnasium import spaces

ActionSpace = spaces.Box | spaces.Discrete | spaces.MultiDiscrete
ObservationSpace = spaces.Box | spaces.MultiDiscrete
DTYPES = {"uint8": torch.uint8, "int64": torch.int64}


def is_image(space: spaces.Space) -> TypeGuard[spaces.Box]:
    """Are these images, uint8 [H, W, C]?"""
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3


def is_categorical(space: spaces.Space) -> TypeGuard[spaces.MultiDiscrete]:
    """Are these vectors of categories, int64, each in a number of its own?"""
    return isinstance(space, spaces.MultiDiscrete) and len(space.shape) == 1 and space.dtype == np.int64


def is_vector(space: spaces.Space) -> bool:
    """Are these vectors of float32?"""
    return isinstance(space, spaces.Box) and space.dtype == np.float32 and len(space.shape) == 1


def counts(space: spaces.Space) -> list[int]:
    """How many values each number of an action or observation has: 1 if Discrete, D if MultiDiscrete, 0 in a Box."""
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    return [int(n) for n in space.nvec] if isinstance(space, spaces.MultiDiscrete) else []


def obs_dtype(space: ObservationSpace) -> torch.dtype:
    """uint8 of images, int64 of categories, float32 of others."""
    return DTYPES.get(str(space.dtype), torch.float32)


def action_dtype(space: spaces.Space) -> torch.dtype:
    """int64 of discrete actions, float32 of others."""
    return torch.int64 if counts(space) else torch.float32


def starts_at_zero(space: Any) -> bool:
    """Do discrete actions count from 0?"""
    return not counts(space) or not np.any(space.start)


def in_words(space: spaces.Space) -> str:
    """A space in one line: the bounds of images, or of many numbers, would fill the screen."""
    line = " ".join(str(space).split())
    return line if len(line) <= 100 else f"{type(space).__name__} of {space.dtype}, shape {space.shape}"
