"""The bandit families: their parameters and presets, what a task hides, and what an episode has shown so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le
from torch import Tensor

from envs.errors import require
from envs.fields import Checked, PositiveFloat
from envs.structs import Struct

MOST_PULLS = 30_000  # counts are int16
MOST_ARMS = 10_000


@dataclass(frozen=True)
class BanditConfig(Checked):
    """Parameters of both bandit families."""

    num_arms: Annotated[int, Ge(2), Le(MOST_ARMS)] = 5
    """K, the number of arms."""
    horizon: Annotated[int, Ge(2), Le(MOST_PULLS)] = 10
    """n, the number of pulls in an episode."""
    rewards: Literal["bernoulli", "gaussian"] = "bernoulli"
    """What a pull pays: 1 with the arm's probability, else 0; or a normal draw around its mean."""
    prior: Literal["uniform", "normal"] = "uniform"
    """Distribution of the arms' means, which are independent: U[0, 1], or N(0, 1) for Gaussian rewards."""
    reward_std: PositiveFloat = 1.0
    """Standard deviation of a Gaussian reward around its mean."""
    observation: Literal["constant", "time", "pull"] = "constant"
    """What is seen at each step: a 1, the fraction of the pulls already made, or their number, one-hot."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.rewards == "gaussian" or self.prior == "uniform",
            "Bernoulli rewards need prior='uniform', since a normal draw is no probability.",
        )
        require(
            self.rewards == "gaussian" or self.reward_std == 1,
            "reward_std has no use with Bernoulli rewards; leave it 1.",
        )


SIZES = [(k, n) for k in (5, 10, 50) for n in (10, 100, 500)]  # the table of RL²

BERNOULLI_PRESETS = {f"k{k}-n{n}": BanditConfig(k, n) for k, n in SIZES}

GAUSSIAN_PRESETS = {
    **{f"k{k}-n{n}": BanditConfig(k, n, "gaussian", "normal") for k, n in SIZES[:5]},
    "k5-n100-uniform": BanditConfig(5, 100, "gaussian", "uniform"),
    "lee2023": BanditConfig(5, 500, "gaussian", "uniform", 0.3),
}
"""`lee2023`: the bandits of DPT (Lee et al. 2023). What the paper calls a variance of 0.3 is, in its code, the standard
deviation."""


@dataclass(frozen=True, eq=False)
class Task(Struct):
    mean: Tensor  # [N, K] expected reward of each arm; its probability to pay when rewards are Bernoulli


@dataclass(frozen=True, eq=False)
class State(Struct):
    """What has been seen in this episode: sufficient statistics for every distribution here."""

    pulls: Tensor  # [N, E, K] int16, times each arm was pulled
    rewards: Tensor  # [N, E, K] sum of each arm's rewards: int16 when Bernoulli, float32 when Gaussian
