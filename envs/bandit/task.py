"""The bandit families: their parameters and presets, what a task hides, and what an episode has shown so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from envs.errors import require
from envs.structs import Struct

MOST_PULLS = 30_000  # counts are int16
MOST_ARMS = 10_000


@dataclass(frozen=True)
class BanditConfig:
    """Parameters of both bandit families."""

    num_arms: int = 5
    """K, the number of arms."""
    horizon: int = 10
    """n, the number of pulls in an episode."""
    rewards: Literal["bernoulli", "gaussian"] = "bernoulli"
    """What a pull pays: 1 with the arm's probability, else 0; or a normal draw of unit variance around its mean."""
    prior: Literal["uniform", "normal"] = "uniform"
    """Distribution of the arms' means, which are independent: U[0, 1], or N(0, 1) for Gaussian rewards."""
    observation: Literal["constant", "time"] = "constant"
    """What is seen at each step: a 1, or the fraction of the pulls already made."""

    def __post_init__(self) -> None:
        for name, allowed in (
            ("rewards", ("bernoulli", "gaussian")),
            ("prior", ("uniform", "normal")),
            ("observation", ("constant", "time")),
        ):
            value = getattr(self, name)
            require(value in allowed, f"{name} must be {allowed[0]!r} or {allowed[1]!r}, not {value!r}.")
        for name, least in (("num_arms", 2), ("horizon", 2)):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            require(whole and value >= least, f"{name} must be a whole number of at least {least}, not {value!r}.")
        require(self.num_arms <= MOST_ARMS, f"num_arms must be at most {MOST_ARMS:,}, not {self.num_arms:,}.")
        require(self.horizon <= MOST_PULLS, f"horizon must be at most {MOST_PULLS:,} pulls, not {self.horizon:,}.")
        require(
            self.rewards == "gaussian" or self.prior == "uniform",
            "Bernoulli rewards need prior='uniform', since a normal draw is no probability.",
        )


SIZES = [(k, n) for k in (5, 10, 50) for n in (10, 100, 500)]  # the table of RL²

BERNOULLI_PRESETS = {f"k{k}-n{n}": BanditConfig(k, n) for k, n in SIZES}

GAUSSIAN_PRESETS = {
    **{f"k{k}-n{n}": BanditConfig(k, n, "gaussian", "normal") for k, n in SIZES[:5]},
    "k5-n100-uniform": BanditConfig(5, 100, "gaussian", "uniform"),
}


@dataclass(frozen=True, eq=False)
class Task(Struct):
    mean: Tensor  # [N, K] expected reward of each arm; its probability to pay when rewards are Bernoulli


@dataclass(frozen=True, eq=False)
class State(Struct):
    """What has been seen in this episode: sufficient statistics for every distribution here."""

    pulls: Tensor  # [N, E, K] int16, times each arm was pulled
    rewards: Tensor  # [N, E, K] sum of each arm's rewards: int16 when Bernoulli, float32 when Gaussian
