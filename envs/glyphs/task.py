"""The glyphs family: its parameters and presets, what a task hides, and the state of an episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

from envs.fields import Checked
from envs.structs import Struct


@dataclass(frozen=True)
class GlyphsConfig(Checked):
    """Parameters of the glyphs family."""

    num_letters: Annotated[int, Ge(2), Le(20)] = 5
    """N, the letters of a task, and so the labels."""
    horizon: Annotated[int, Ge(1), Le(10_000)] = 50
    """Steps in an episode. Letters are shown equally often; where that cannot be, some of them once more."""
    active: bool = False
    """Is there an action that asks for the label? Only asking reveals it then (Woodward & Finn 2017)."""
    max_rotation: Annotated[float, Ge(0), Le(180)] = 10.0
    """degrees, largest rotation of an instance to either side."""
    max_shift: Annotated[float, Ge(0), Le(14)] = 2.0
    """pixels, largest shift of an instance along each axis."""
    max_zoom: Annotated[float, Ge(0), Le(0.5)] = 0.1
    """Instances are scaled by a factor of 1 ± this at most."""


PRESETS = {
    "5-way": GlyphsConfig(),
    "10-way": GlyphsConfig(10, 100),
    "5-way-active": GlyphsConfig(active=True),
    "10-way-active": GlyphsConfig(10, 100, active=True),
}


@dataclass(frozen=True, eq=False)
class Task(Struct):
    letter: Tensor  # [N, L] int64: the code point of the letter of each label


@dataclass(frozen=True, eq=False)
class State(Struct):
    image: Tensor  # [N, E, 784] uint8: the instance to be labelled now
    time: Tensor  # [N, E] int64: instances answered so far
    label: Tensor  # [N, E, H] uint8: of each instance of the episode; hidden
    answer: Tensor  # [N, E, H] int8: the action at each instance so far, else -1


def one_hot(label: Tensor, size: int) -> Tensor:
    """[...] -> [..., size] bool; all False for a label that is none of 0 ... size - 1. Unlike torch's, it reads nothing
    back from the device."""
    return label.unsqueeze(-1) == torch.arange(size, device=label.device)
