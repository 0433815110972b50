"""The control-map family: its parameters and presets, what a task hides, and the state of an episode."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from envs.errors import require
from envs.fields import Checked, Fraction, PositiveFloat, PositiveInt
from envs.structs import Struct

MOST_GAIN = 4.0
Gain = Annotated[float, Gt(0), Le(MOST_GAIN)]


@dataclass(frozen=True)
class ControlMapConfig(Checked):
    """Parameters of reaching under a hidden map. Lengths are in metres."""

    min_gain: Gain = 0.5
    """Smallest gain of a map; gains are uniform."""
    max_gain: Gain = 1.5
    """Largest gain of a map."""
    reflections: bool = True
    """Is every other map mirrored?"""
    held_out: Annotated[float, Ge(0), Lt(180)] = 45.0
    """Degrees around 90° and around -90° in which no map of train or test is rotated, but every map of ood; 0: none."""
    max_step: PositiveFloat = 0.4
    """An action of 1 along an axis moves by this much, times the gain."""
    goal_distance: PositiveFloat = 1.0
    """Distance of the goals from the start."""
    horizon: PositiveInt = 12
    """Steps in an episode."""
    reach: PositiveInt | None = None
    """Steps after which the point returns to the start and the goal is drawn anew; None: in the next episode only."""
    change_probability: Fraction = 0.0
    """Probability that the map is drawn anew when the goal is, within an episode."""

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.min_gain, self.max_gain
        require(low <= high, f"min_gain must be at most max_gain, which is {high:g}, not {low:g}.")
        require(
            self.change_probability == 0 or self.reach is not None,
            "change_probability needs reach, since the map changes only where the goal does within an episode.",
        )

    @property
    def num_reaches(self) -> int:
        """R, the goals of an episode."""
        return 1 if self.reach is None else math.ceil(self.horizon / self.reach)


PRESETS = {
    "map": ControlMapConfig(),
    "rotation": ControlMapConfig(min_gain=1.0, max_gain=1.0, reflections=False),
    "changing": ControlMapConfig(horizon=48, reach=12, change_probability=0.5),
}


@dataclass(frozen=True, eq=False)
class Task(Struct):
    control: Tensor  # [N, R, 2, 2] gain times a rotation or reflection, for each goal of an episode


@dataclass(frozen=True, eq=False)
class State(Struct):
    position: Tensor  # [N, E, 2] m
    goal: Tensor  # [N, E, 2] m
    time: Tensor  # [N, E] int64, steps since the episode began
