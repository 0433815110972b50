"""What a picture of a robot shows, as plain values: no robot is needed to draw it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Chart:
    """The quantity that is plotted under the scene."""

    label: str
    """Its name with its unit in brackets, such as `velocity (m/s)`."""
    values: np.ndarray  # [t], one for each state of the episode
    target: float | None = None
    """The value asked for."""


@dataclass(frozen=True)
class Mark:
    """A goal that is shown on the ground."""

    place: tuple[float, float] | None = None
    """A disc there (m)."""
    angle: float = 0.0
    """Without a place: an arrow beside the robot in this direction (rad); 0 is along x."""


@dataclass(frozen=True)
class Picture:
    """One moment of an episode."""

    model: str
    """Name of the model's file."""
    planar: bool
    """Does the robot move in a plane, seen from the side?"""
    paths: Sequence[np.ndarray]
    """Positions [t, nq] of this episode up to now, then of earlier ones."""
    marks: Sequence[Mark]
    chart: Chart
    """Of this episode up to now."""
    past: Sequence[np.ndarray]
    """The charted quantity [t] in earlier episodes."""
    row: Sequence[np.ndarray]
    """The same in whole episodes that other pictures of a row show: the axis holds them, too."""
    duration: float
    """Of an episode, in s."""
    horizon: int
    """Of an episode, in steps."""
