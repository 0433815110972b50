"""The family of random tabular MDPs: its parameters and presets, what a task hides, and the state of an episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from envs.fields import Checked, NonNegativeFloat, PositiveFloat, PositiveInt
from envs.structs import Struct


@dataclass(frozen=True)
class TabularConfig(Checked):
    """Parameters of the tabular MDP family. Below, S is the number of states, and A that of actions."""

    num_states: Annotated[int, Ge(2)] = 10
    """Number of states, S; each episode starts in state 0."""
    num_actions: Annotated[int, Ge(2)] = 5
    """Number of actions, A, in every state."""
    horizon: PositiveInt = 10
    """Steps in an episode."""
    concentration: PositiveFloat = 1.0
    """Transition rows ~ Dirichlet of this; small values lead each action to few states."""
    reward_noise: NonNegativeFloat = 1.0
    """Standard deviation of a reward around its mean."""


PRESETS = {"rl2": TabularConfig(), "large": TabularConfig(num_states=25, horizon=25)}


@dataclass(frozen=True, eq=False)
class Task(Struct):
    transition: Tensor  # [N, S, A, S] probability of the next state; rows sum to 1
    reward_mean: Tensor  # [N, S, A] expected reward


@dataclass(frozen=True, eq=False)
class State(Struct):
    index: Tensor  # [N, E] int64, the current state
    action: Tensor  # [N, E] int64, the action that led here; -1 at the start
    total: Tensor  # [N, E] reward since the start of the episode
