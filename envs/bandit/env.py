"""Bandits: K arms whose expected rewards are hidden, and n pulls to find and use the best.

The Bernoulli distribution is that of Duan et al. 2016 (RL²), section 3.1, and Mishra et al. 2018 (SNAIL):
p ~ U[0, 1]^K, and an episode is n pulls. Pulls are seen only through previous actions and rewards: the observation
says nothing about the task. It is not zero either, since a feed-forward policy with zero biases cannot learn from a
zero input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor

from envs.bandit.references import make_references
from envs.bandit.render import draw
from envs.bandit.task import BanditConfig, State, Task
from envs.core import Env, Reference, StepResult, fresh_splits
from envs.errors import require

LARGEST_MEAN = 20.0  # in the task schema: far beyond every distribution here


class Bandit(Env[Task, State]):
    """Bernoulli or Gaussian bandit. obs [N, E, 1]: 1, or the time in [0, 1]; or [N, E, n], the pull.

    action [N, E]: the arm to pull.
    """

    task_type = Task
    oracle = "clairvoyant"

    def __init__(self, config: BanditConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.horizon = config.horizon
        self.sum_dtype = torch.int16 if config.rewards == "bernoulli" else torch.float32
        size = config.horizon if config.observation == "pull" else 1
        self.observation_space = spaces.Box(0.0, 1.0, (size,), np.float32)
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
        self.splits = fresh_splits(f"{what} {train}", f"{what} {ood}")

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
            noise = torch.randn(action.shape, generator=generator, device=self.device)
            paid = mean + self.config.reward_std * noise
        arm, one = action.unsqueeze(-1), torch.ones_like(action, dtype=torch.int16)
        state = State(
            state.pulls.scatter_add(-1, arm, one.unsqueeze(-1)), state.rewards.scatter_add(-1, arm, paid.unsqueeze(-1))
        )
        terminated = torch.zeros_like(action, dtype=torch.bool)
        return StepResult(state, self._observe(state), paid.float(), terminated)

    def _observe(self, state: State) -> Tensor:
        """[N, E, 1], or [N, E, n]."""
        time = state.pulls.sum(-1, keepdim=True)
        if self.config.observation == "time":
            return time / self.horizon
        if self.config.observation == "pull":
            return (time == torch.arange(self.horizon, device=self.device)).float()
        return torch.ones(*state.pulls.shape[:2], 1, device=self.device)

    def references(self) -> dict[str, Reference]:
        return {"random": Reference(self.random_actions), **make_references(self.config)}

    def render(self, task: Task, episode: State, earlier: Sequence[State] = (), size: int = 480) -> np.ndarray:
        return draw(task, episode, earlier, size, self.config)


class GaussianBandit(Bandit):
    """A bandit that is also judged by its regret: rewards are too noisy to compare policies by them."""

    def scores(self, task: Task, states: State, action: Tensor, reward: Tensor) -> dict[str, Tensor]:
        """`regret`: the sum over an episode's pulls of how far the arm's mean lies below the best one."""
        expected = task.mean[:, None].expand(-1, action.shape[1], -1).gather(2, action)  # [N, n, E]
        return {"regret": (task.mean.amax(1)[:, None, None] - expected).sum(1)}
