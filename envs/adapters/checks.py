"""Checks of what callers pass to the adapters: seeds, actions and reset options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.errors import InputError, require, unknown
from envs.kinds import ActionSpace


def check_seed(seed: int) -> int:
    """Raise `InputError` unless `seed` is a whole number that every library here takes."""
    require(isinstance(seed, int) and 0 <= seed < 2**62, f"seed must be a whole number from 0 to 2**62, not {seed!r}.")
    return seed


def check_action(space: ActionSpace, action: Any, *batch: int) -> np.ndarray:
    """A fresh array [*batch, A] float32; int64 of a MultiDiscrete, and [*batch] of a Discrete.

    Raises:
        InputError: for a wrong shape, a number that is not finite, or a discrete action that does not exist.
            Numbers beyond the bounds of a Box pass: the environments clip them.
    """
    shape = batch + (space.shape or ())
    try:
        array = np.array(action)
    except (TypeError, ValueError, RuntimeError):  # ragged lists, tensors that require grad
        array = np.array(None)
    if array.dtype.kind not in "biuf":  # sentences are written only when they are needed: this runs at every step
        raise InputError(f"An action must be numbers of shape {shape}, not a {type(action).__name__}.")
    if array.shape != shape:
        raise InputError(f"An action must have the shape {shape}, not {array.shape}.")
    if isinstance(space, spaces.Box):
        if array.dtype != np.float32:
            with np.errstate(over="ignore"):
                array = array.astype(np.float32)
        if np.count_nonzero(np.isfinite(array)) < array.size:
            raise InputError("An action must be finite numbers, and this one is not.")
        return array
    last = space.start + (space.n if isinstance(space, spaces.Discrete) else space.nvec) - 1
    if array.dtype.kind not in "iu" or np.count_nonzero((array >= space.start) & (array <= last)) < array.size:
        what = "a whole number" if isinstance(space, spaces.Discrete) else "whole numbers"
        raise InputError(f"An action must be {what} from {space.start} to {last}, and this one is not.")
    return array.astype(np.int64, copy=False)


def check_options(options: Mapping[str, Any] | None, task_name: str = "task") -> tuple[Any, bool]:
    """Reset options as (task or None, resample). Raises `InputError` for unknown or contradictory ones."""
    options = options or {}
    for name in options:
        if name not in (task_name, "resample_task"):
            raise unknown("reset option", str(name), (task_name, "resample_task"))
    task, resample = options.get(task_name), options.get("resample_task", False)
    require(isinstance(resample, bool), f"The reset option 'resample_task' must be True or False, not {resample!r}.")
    require(task is None or not resample, f"Give one of the reset options {task_name!r} and 'resample_task', not both.")
    return task, resample
