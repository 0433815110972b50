"""States of runs as plain numbers, to compare them to the last bit."""

from __future__ import annotations

import torch


def bits(state) -> list:
    """All leaves of a run's state, tensors as lists, but for its training time."""
    if isinstance(state, dict):
        return [bits(value) for key, value in state.items() if key != "seconds"]
    if isinstance(state, list):
        return [bits(value) for value in state]
    return state.tolist() if isinstance(state, torch.Tensor) else state
