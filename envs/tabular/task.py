"""The family of random tabular MDPs: its parameters and presets, what a task hides, and the state of an episode."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from envs.errors import require
from envs.structs import Struct


@dataclass(frozen=True)
class TabularConfig:
    """Parameters of the tabular MDP family. Below, S is the number of states, and A that of actions."""

    num_states: int = 10
    """Number of states, S; each episode starts in state 0."""
    num_actions: int = 5
    """Number of actions, A, in every state."""
    horizon: int = 10
    """Steps in an episode."""
    concentration: float = 1.0
    """Transition rows ~ Dirichlet of this; small values lead each action to few states."""
    reward_noise: float = 1.0
    """Standard deviation of a reward around its mean."""

    def __post_init__(self) -> None:
        for name, least in (("num_states", 2), ("num_actions", 2), ("horizon", 1)):
            value = getattr(self, name)
            require(value >= least, f"{name} must be at least {least}, not {value}.")
        positive = math.isfinite(self.concentration) and self.concentration > 0
        require(positive, f"concentration must be a positive number, not {self.concentration}.")
        noise = self.reward_noise
        require(math.isfinite(noise) and noise >= 0, f"reward_noise must be a number of at least 0, not {noise}.")


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
