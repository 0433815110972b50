"""Kinds of observations and actions that a family may have."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces

ActionSpace = spaces.Box | spaces.Discrete | spaces.MultiDiscrete


def is_image(space: spaces.Space) -> bool:
    """Are these images, uint8 [H, W, C]?"""
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3


def is_vector(space: spaces.Space) -> bool:
    """Are these vectors of float32?"""
    return isinstance(space, spaces.Box) and space.dtype == np.float32 and len(space.shape) == 1


def counts(space: spaces.Space) -> list[int]:
    """How many values each number of an action has: one number if Discrete, D if MultiDiscrete, none in a Box."""
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    return [int(n) for n in space.nvec] if isinstance(space, spaces.MultiDiscrete) else []


def action_dtype(space: spaces.Space) -> torch.dtype:
    """int64 of discrete actions, float32 of others."""
    return torch.int64 if counts(space) else torch.float32


def starts_at_zero(space: Any) -> bool:
    """Do discrete actions count from 0?"""
    return not counts(space) or not np.any(space.start)
