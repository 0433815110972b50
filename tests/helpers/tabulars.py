"""Tabular MDPs for tests."""

from __future__ import annotations

import torch
from torch import Generator

from envs.tabular import PRESETS, State, Tabular, TabularConfig

CPU = torch.device("cpu")


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def make(preset: str = "rl2", **fields) -> Tabular:
    config = PRESETS[preset]
    return Tabular(TabularConfig(**{**vars(config), **fields}), CPU)


def state_at(index: torch.Tensor) -> State:
    return State(index, torch.full_like(index, -1), torch.zeros(index.shape))
