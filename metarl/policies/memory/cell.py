"""What a memory is: entries of (key, value, class) that a trial writes and later steps read.

Letters: B trials, T steps, H heads, C classes, K size of a key, V size of a value, G gates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from envs.structs import Struct


@dataclass(frozen=True, eq=False)
class Entries(Struct):
    """What a trial has written so far, or in total."""

    key: Tensor  # [B, T, H, K]
    value: Tensor  # [B, T, H, V]
    gate: Tensor  # [B, T, H, G] what a memory with gates makes them from
    kind: Tensor  # [B, T] int64: class of each entry
    valid: Tensor  # [B, T] float: 0 for steps that did not happen


@dataclass(frozen=True)
class MemoryShape:
    """The sizes of a memory."""

    num_heads: int
    key_size: int
    value_size: int
    num_classes: int = 1
    num_slots: int = 4
    """Learned entries that are added to those of every trial."""
    ring_size: int = 64
    """Entries that a ring holds."""
    uniform: bool = False
    """Has every entry the same weight, whatever its key?"""


class Memory(nn.Module, ABC):
    """A memory with `num_classes` kinds of entries, each of which is read separately.

    Acting calls `start`, then `read` and `write` step by step; training calls `sequence` with whole trials. Both give
    the same.
    """

    pairs: ClassVar[bool] = False
    """Does `sequence` compute all pairs of a trial's steps at once?"""
    gates: ClassVar[int] = 0
    """Gates of an entry and head (G)."""

    def __init__(self, shape: MemoryShape) -> None:
        super().__init__()
        self.shape = shape

    @abstractmethod
    def start(self, num_lanes: int) -> Any:
        """The state at the beginning of a trial, which `write` extends and `read` reads."""

    @abstractmethod
    def write(self, state: Any, entry: Entries) -> Any:
        """Add one entry a lane: `entry` has T = 1."""

    @abstractmethod
    def read(self, state: Any, query: Tensor) -> tuple[Tensor, Tensor]:
        """Queries [B, H, K] -> readout [B, C, H, V] and evidence [B, C, H], how much was written about them."""

    @abstractmethod
    def sequence(self, query: Tensor, entries: Entries) -> tuple[Tensor, Tensor]:
        """What each step of a trial reads: queries [B, T, H, K] -> readout [B, T, C, H, V], evidence [B, T, C, H].

        Step t reads the entries i < t.
        """

    @abstractmethod
    def attention(self, query: Tensor, entries: Entries) -> Tensor:
        """Attention [B, H, T, T] of each step to each entry, all classes together: row t sums to at most 1."""
