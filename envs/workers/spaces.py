"""What an environment of Gymnasium says of itself, and the spaces of a family of such environments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.errors import InputError, require
from envs.kinds import ActionSpace, ObservationSpace, is_image
from envs.workers.tasks import Sample


@dataclass(frozen=True)
class Description:
    """What an environment that `make` returns says of itself."""

    name: str
    observation_space: spaces.Space
    action_space: spaces.Space
    max_steps: int | None
    sample: Sample | None
    sets_tasks: bool


MOST_ONE_HOT = 256
"""Values of a discrete observation that is one-hot; where a number has more of them it stays one, to be looked up."""


def observed_space(told: Description) -> ObservationSpace:
    """The observations of a family: images and many categories as they are, or else float32 vectors.

    Raises `InputError` for other spaces.
    """
    space: Any = told.observation_space
    where = f"{told.name}.observation_space"
    require(isinstance(space, spaces.Space), f"{where} must be a gymnasium space, not {space!r}.")
    if is_image(space):
        return space
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        counts = np.reshape(space.n if isinstance(space, spaces.Discrete) else space.nvec, -1)
        if counts.max() > MOST_ONE_HOT:
            return spaces.MultiDiscrete(counts)
    try:
        flat = spaces.flatten_space(space)
    except NotImplementedError:
        flat = None
    if not isinstance(flat, spaces.Box):
        raise InputError(
            f"{where} must be a space that gymnasium.spaces.flatten makes a vector of, and {space} is none."
        )
    low, high = flat.low.astype(np.float32), flat.high.astype(np.float32)
    return spaces.Box(low, high, dtype=np.float32)


def acted_space(told: Description) -> ActionSpace:
    """The actions of a family. Raises `InputError` where the environment takes others than it can have."""
    space: Any = told.action_space
    if isinstance(space, spaces.Discrete):
        return spaces.Discrete(int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        return spaces.MultiDiscrete(space.nvec.reshape(-1))
    floats = isinstance(space, spaces.Box) and space.dtype.kind == "f"
    require(floats, f"{told.name}.action_space must be a Discrete, a MultiDiscrete or a Box of floats, not {space}.")
    low, high = (np.asarray(x, np.float32).reshape(-1) for x in (space.low, space.high))
    return spaces.Box(low, high, dtype=np.float32)
