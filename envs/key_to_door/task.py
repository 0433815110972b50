"""Dark key-to-door: its parameters and presets, what a task hides, and the state of an episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor

from envs.errors import require
from envs.fields import Checked, NonNegativeInt, PositiveInt
from envs.structs import Struct


@dataclass(frozen=True)
class KeyToDoorConfig(Checked):
    """Parameters of dark key-to-door. Places are [row, column], counted from 0 at the top left."""

    size: Annotated[int, Ge(2), Le(30)] = 9
    """Cells in a row and in a column."""
    start: tuple[int, int] = (4, 4)
    """Place in which every episode starts."""
    horizon: PositiveInt = 50
    """Steps in an episode."""
    see_progress: bool = False
    """Does the observation also show whether the key is held and whether the door is open?"""
    held_out_every: NonNegativeInt = 10
    """Every n-th pair of key and door, in an order drawn once for all, is in `test` only, and the one before it in
    `validation` only; 0: all splits share all pairs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        inside = all(0 <= x < self.size for x in self.start)
        require(inside, f"start must be a place [row, column] on the {self.size} × {self.size} board.")
        require(
            self.held_out_every not in (1, 2) and self.held_out_every <= self.size**4,
            f"held_out_every must be 0 or from 3 to the number of pairs, {self.size**4}, not {self.held_out_every}.",
        )


PRESETS = {"laskin2022": KeyToDoorConfig(), "see-progress": KeyToDoorConfig(see_progress=True)}


@dataclass(frozen=True, eq=False)
class Task(Struct):
    key: Tensor  # [N, 2] int64: row, column
    door: Tensor  # [N, 2] int64; may be the place of the key


@dataclass(frozen=True, eq=False)
class State(Struct):
    cell: Tensor  # [N, E] int64: row * size + column
    found: Tensor  # [N, E] int64: 0 nothing yet, 1 the key, 2 also the door
