"""The contextual bandit: its parameters and presets, what a task hides, and the state of an episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor

from envs.errors import require
from envs.fields import Checked, Fraction, PositiveInt
from envs.structs import Struct


@dataclass(frozen=True)
class ContextualBanditConfig(Checked):
    """Parameters of the contextual bandit."""

    num_contexts: Annotated[int, Ge(1), Le(10_000)] = 20
    """C, the number of contexts: what a memory has to hold."""
    num_arms: Annotated[int, Ge(2), Le(1000)] = 5
    """K, the number of arms; in each context one of them is the best."""
    horizon: PositiveInt = 100
    """Steps in an episode, each with one pull."""
    p_best: Fraction = 1.0
    """Probability that the best arm of a context pays 1."""
    p_other: Fraction = 0.0
    """Probability that another arm pays 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        best, other = self.p_best, self.p_other
        require(other < best, f"p_other must be below p_best, which is {best:g}, not {other:g}.")


PRESETS = {
    "c20": ContextualBanditConfig(),
    **{f"c{c}": ContextualBanditConfig(c, horizon=5 * c) for c in (5, 10, 50, 100, 200)},
    "c20-noisy": ContextualBanditConfig(p_best=0.9, p_other=0.1),
}
"""By the number of contexts. Each is seen five times on average, as often as there are arms."""


@dataclass(frozen=True, eq=False)
class Task(Struct):
    best: Tensor  # [N, C] int64, the best arm of each context


@dataclass(frozen=True, eq=False)
class State(Struct):
    context: Tensor  # [N, E] int64, seen now
    arm: Tensor  # [N, E] int64, pulled in the step before; -1 at the start
    reward: Tensor  # [N, E] what it paid
