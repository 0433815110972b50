"""What a cell is: it turns the steps of a trial into states, each of which depends on the steps up to its own.

Letters: B trials, T steps, D features of a step and of a state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class Cell(nn.Module, ABC):
    """The recurrent part of a network, made by `Cell(size, num_steps, num_layers)`.

    Acting calls `start`, then `step` by step; training calls `sequence` with whole trials. Both give the same.
    """

    @abstractmethod
    def start(self, num_lanes: int) -> Any:
        """The memory [B, ...] at the beginning of a trial, a tensor or a Struct."""

    @abstractmethod
    def step(self, x: Tensor, memory: Any) -> tuple[Tensor, Any]:
        """One step of each lane: features [B, D] -> state [B, D], and the memory after it, of the same shape."""

    @abstractmethod
    def sequence(self, x: Tensor) -> Tensor:
        """Whole trials: features [B, T, D] -> states [B, T, D]."""
