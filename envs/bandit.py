"""Bandits: K arms whose expected rewards are hidden, and n pulls to find and use the best.

The Bernoulli law is that of Duan et al. 2016 (RL²), section 3.1, and Mishra et al. 2018 (SNAIL): p ~ U[0, 1]^K, an
episode is n pulls. Pulls are seen through previous actions and rewards alone: the observation says nothing about the
task. It is not zero either, since a feed-forward policy with zero biases has nothing to learn from a zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor

from envs.bandit_references import bandit_references
from envs.bandit_render import draw_bandit
from envs.core import Env, Reference, StepResult
from envs.errors import require
from envs.structs import Struct

MOST_PULLS = 30_000  # counts are int16
MOST_ARMS = 10_000
LARGEST_MEAN = 20.0  # of the task schema: far beyond every law here


@dataclass(frozen=True)
class BanditConfig:
    """Parameters of both bandit families."""

    num_arms: int = 5
    """K, the number of arms."""
    horizon: int = 10
    """n, the number of pulls in an episode."""
    rewards: Literal["bernoulli", "gaussian"] = "bernoulli"
    """What a pull pays: 1 with the arm's probability and else 0, or a normal draw of unit variance around its mean."""
    prior: Literal["uniform", "normal"] = "uniform"
    """Law of the arms' means, which are independent: U[0, 1], or N(0, 1) for Gaussian rewards."""
    observation: Literal["constant", "time"] = "constant"
    """What is seen at each step: a 1, or the fraction of the pulls that are spent."""

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
    """What has been seen in this episode: sufficient statistics for every law here."""

    pulls: Tensor  # [N, E, K] int16, times each arm was pulled
    rewards: Tensor  # [N, E, K] sum of each arm's rewards: int16 when Bernoulli, float32 when Gaussian


class Bandit(Env[Task, State]):
    """Bernoulli or Gaussian bandit. obs [N, E, 1]: 1, or the time in [0, 1]. action [N, E]: the arm to pull."""

    task_type = Task

    def __init__(self, config: BanditConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.horizon = config.horizon
        self.sum_dtype = torch.int16 if config.rewards == "bernoulli" else torch.float32
        self.observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Discrete(config.num_arms)
        low, high = (0.0, 1.0) if config.rewards == "bernoulli" else (-LARGEST_MEAN, LARGEST_MEAN)
        self.task_space = spaces.Dict(mean=spaces.Box(low, high, (config.num_arms,), np.float32))
        what = "probabilities" if config.rewards == "bernoulli" else "means"
        train, ood = {
            "probabilities": ("uniform in [0, 1]", "uniform in [0, 0.1], where a pull rarely pays"),
            "means": ("uniform in [0, 1]", "uniform in [1, 2], all above those of training"),
        }[what]
        if config.prior == "normal":
            train, ood = "drawn from N(0, 1)", "drawn from N(3, 1)"
        self.splits = {
            "train": f"{what} {train}",
            "test": f"fresh draws of the same law: {what} {train}",
            "ood": f"{what} {ood}",
        }

    def sample_tasks(self, n: int, generator: Generator, split: str = "train") -> Task:
        self.check_split(split)
        require(n >= 1, f"The number of tasks must be at least 1, not {n}.")
        shape, ood = (n, self.config.num_arms), split == "ood"
        if self.config.prior == "normal":
            mean = torch.randn(shape, generator=generator, device=self.device)
            return Task(mean + 3 if ood else mean)
        mean = torch.rand(shape, generator=generator, device=self.device)
        if not ood:
            return Task(mean)
        return Task(0.1 * mean if self.config.rewards == "bernoulli" else 1 + mean)

    def reset(self, task: Task, num_envs: int, generator: Generator) -> tuple[State, Tensor]:
        shape = (len(task.mean), num_envs, self.config.num_arms)
        pulls = torch.zeros(shape, dtype=torch.int16, device=self.device)
        state = State(pulls, torch.zeros(shape, dtype=self.sum_dtype, device=self.device))
        return state, self._observe(state)

    def step(self, task: Task, state: State, action: Tensor, generator: Generator) -> StepResult[State]:
        mean = task.mean.gather(1, action)  # [N, E]
        if self.config.rewards == "bernoulli":
            paid = (torch.rand(action.shape, generator=generator, device=self.device) < mean).to(self.sum_dtype)
        else:
            paid = mean + torch.randn(action.shape, generator=generator, device=self.device)
        arm, one = action.unsqueeze(-1), torch.ones_like(action, dtype=torch.int16)
        state = State(
            state.pulls.scatter_add(-1, arm, one.unsqueeze(-1)), state.rewards.scatter_add(-1, arm, paid.unsqueeze(-1))
        )
        terminated = torch.zeros_like(action, dtype=torch.bool)
        return StepResult(state, self._observe(state), paid.float(), terminated)

    def _observe(self, state: State) -> Tensor:
        """[N, E, 1]."""
        if self.config.observation == "time":
            return state.pulls.sum(-1, keepdim=True) / self.horizon
        return torch.ones(*state.pulls.shape[:2], 1, device=self.device)

    def references(self) -> dict[str, Reference]:
        return {"random": Reference(self.random_actions), **bandit_references(self.config)}

    def render(self, task: Task, episode: State, earlier: Sequence[State] = (), size: int = 480) -> np.ndarray:
        return draw_bandit(task, episode, earlier, size, self.config)
