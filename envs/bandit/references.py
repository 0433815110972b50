"""Reference policies for bandits.

UCB1: Auer, Cesa-Bianchi & Fischer 2002. Thompson sampling: Thompson 1933; Agrawal & Goyal 2012. The finite-horizon
index: `envs.bandit.gittins`.

All of them read the counts of the current episode, so they start afresh with each. Ties go to the lowest index: all
arms have the same distribution, so this favours none.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from envs.bandit.gittins import gittins_table
from envs.bandit.task import BanditConfig, State, Task
from envs.core import Reference

EPSILON = 0.1
UCB_WIDTH = {"bernoulli": 0.2, "gaussian": 0.4}  # 0.4 times the largest standard deviation of a pull
PRIOR = {("bernoulli", "uniform"): (0.5, 2), ("gaussian", "normal"): (0.0, 1), ("gaussian", "uniform"): (0.5, 12)}
"""The mean of the arms' means, and the number of pulls that this knowledge is worth: the variance of a pull (of a
standard deviation of 1, where it is Gaussian) over that of the means (Bühlmann 1967). For the first two distributions
this gives the posterior mean; for the third, the best linear estimate."""


def make_references(config: BanditConfig) -> dict[str, Reference]:
    """References by name, without `random`: Gittins' index for Bernoulli rewards, UCB of fixed width for Gaussian."""
    policies = Policies(config)
    references = {
        "epsilon-greedy": Reference(policies.epsilon_greedy),
        "UCB1": Reference(policies.ucb1),
        "UCB with prior": Reference(policies.ucb_with_prior),
        "UCB, fixed width": Reference(policies.ucb_fixed_width),
        "Thompson sampling": Reference(policies.thompson),
        "Gittins": Reference(policies.gittins),
        "clairvoyant": Reference(policies.clairvoyant),
    }
    del references["Gittins" if config.rewards == "gaussian" else "UCB, fixed width"]
    return references


@dataclass(frozen=True)
class Policies:
    """The `act` functions; each returns the arm to pull [N, E]."""

    config: BanditConfig

    @property
    def prior(self) -> tuple[float, float]:
        """As in `PRIOR`, for rewards of this standard deviation."""
        mean, weight = PRIOR[self.config.rewards, self.config.prior]
        return mean, weight * self.config.reward_std**2

    def epsilon_greedy(self, task: Task, state: State, memory: None, generator: Generator) -> Tensor:
        """The arm with the highest expected mean, or with probability 0.1 any arm."""
        mean, weight = self.prior
        best = ((state.rewards + mean * weight) / (state.pulls + weight)).argmax(-1)
        anywhere = torch.randint(self.config.num_arms, best.shape, generator=generator, device=best.device)
        return torch.where(torch.rand(best.shape, generator=generator, device=best.device) < EPSILON, anywhere, best)

    def ucb1(self, task: Task, state: State, memory: None, generator: Generator) -> Tensor:
        """Each arm once, then the highest mean + √(2 ln t / pulls), where t counts all pulls so far.

        Of Gaussian rewards the width is in their standard deviations.
        """
        pulls = state.pulls.float()
        log_t = pulls.sum(-1, keepdim=True).clamp_min(1).log()
        index = (state.rewards + self.config.reward_std * (2 * log_t * pulls).sqrt()) / pulls.clamp_min(1)
        return torch.where(pulls == 0, torch.inf, index).argmax(-1)

    def ucb_fixed_width(self, task: Task, state: State, memory: None, generator: Generator) -> Tensor:
        """Each arm once, then the highest mean + 1 / √pulls: the UCB that Lee et al. 2023 compare DPT with."""
        pulls = state.pulls.float()
        return torch.where(pulls == 0, torch.inf, (state.rewards + pulls.sqrt()) / pulls.clamp_min(1)).argmax(-1)

    def ucb_with_prior(self, task: Task, state: State, memory: None, generator: Generator) -> Tensor:
        """The highest expected mean + c √(2 ln(t + 1) / (pulls + prior pulls)), with a small c: not every arm is tried.

        The returns that RL² gives for UCB1 are of this kind; UCB1 as published first pulls all arms, and its width,
        safe for every problem, is far too large for these horizons. c is the best of a coarse search.
        """
        mean, weight = self.prior
        pulls = state.pulls + float(weight)
        log_t = (1 + state.pulls.sum(-1, keepdim=True)).log()
        width = UCB_WIDTH[self.config.rewards] * self.config.reward_std * (2 * log_t / pulls).sqrt()
        return ((state.rewards + mean * weight) / pulls + width).argmax(-1)

    def thompson(self, task: Task, state: State, memory: None, generator: Generator) -> Tensor:
        """The arm that is best in one draw from the posterior, which is exact for each distribution."""
        pulls = state.pulls.float()
        if self.config.rewards == "bernoulli":
            won, lost = (sample_gamma(1 + x, generator) for x in (state.rewards.float(), pulls - state.rewards))
            return (won / (won + lost)).argmax(-1)
        if self.config.prior == "normal":
            noise = torch.randn(pulls.shape, generator=generator, device=pulls.device)
            total = self.config.reward_std**2 + pulls
            return (state.rewards / total + self.config.reward_std * noise / total.sqrt()).argmax(-1)
        uniform = torch.rand(pulls.shape, generator=generator, device=pulls.device).double()
        return truncated_normal(state.rewards.double(), pulls.double(), uniform, self.config.reward_std).argmax(-1)

    def gittins(self, task: Task, state: State, memory: None, generator: Generator) -> Tensor:
        """The arm with the highest finite-horizon index. The table is computed on first use and cached."""
        remaining = self.config.horizon - state.pulls.sum(-1, keepdim=True)
        return gittins_table(self.config.horizon, state.pulls.device)(state.pulls, state.rewards, remaining).argmax(-1)

    def clairvoyant(self, task: Task, state: State, memory: None, generator: Generator) -> Tensor:
        """The arm with the highest true mean, which it knows: an upper bound, n K / (K + 1) for Bernoulli rewards."""
        return task.mean.argmax(-1, keepdim=True).repeat(1, state.pulls.shape[1])


def sample_gamma(shape: Tensor, generator: Generator) -> Tensor:
    """Gamma(shape, 1) draws, for shapes of at least 1. Marsaglia & Tsang 2000; torch's own takes no generator."""
    d = shape.flatten() - 1 / 3
    draws, rejected = torch.empty_like(d), torch.arange(len(d), device=d.device)
    while len(rejected):  # fewer than one in twenty are rejected
        k = d[rejected]
        x = torch.randn(k.shape, generator=generator, device=k.device)
        u = torch.rand(k.shape, generator=generator, device=k.device)
        v = (1 + x / (9 * k).sqrt()) ** 3
        accepted = u.log() < x.square() / 2 + k * (1 - v + v.log())  # false where v <= 0, whose logarithm is nan
        draws[rejected[accepted]] = (k * v)[accepted]
        rejected = rejected[~accepted]
    return draws.view_as(shape)


def truncated_normal(total: Tensor, pulls: Tensor, uniform: Tensor, std: float = 1.0) -> Tensor:
    """Draws from the posterior of a mean ~ U[0, 1] after `pulls` rewards of that deviation that sum to `total`.

    That is N(total / pulls, std² / pulls) cut to [0, 1]. All arguments are float64 of one shape; `uniform` in [0, 1).
    """
    spread = std * pulls.clamp_min(1).rsqrt()
    mean = total / pulls.clamp_min(1)
    mirrored = mean < 0.5  # so that both ends lie in the lower tail, where the normal integral is precise
    mean = torch.where(mirrored, 1 - mean, mean)
    low, high = torch.special.ndtr(-mean / spread), torch.special.ndtr((1 - mean) / spread)
    draw = (mean + spread * torch.special.ndtri(low + uniform * (high - low))).clamp(0, 1)
    return torch.where(pulls == 0, uniform, torch.where(mirrored, 1 - draw, draw))
