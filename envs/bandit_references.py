"""Reference policies for bandits, and the exact values behind them.

UCB1: Auer, Cesa-Bianchi & Fischer 2002. Thompson sampling: Thompson 1933; Agrawal & Goyal 2012. The finite-horizon
index: Bradt, Johnson & Karlin 1956; Kaufmann 2018. Gittins' theorem makes such an index optimal only for an infinite
discounted horizon; with n pulls it is an excellent approximation, and `bayes_optimal_value` tells by how little it
misses.

All of them read the counts of the present episode, so they start afresh with each. Where arms tie, the lowest index is
pulled: the laws of the tasks are the same for all arms, so this favours none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from envs.core import Reference
from envs.errors import require

if TYPE_CHECKING:
    from envs.bandit import BanditConfig, State, Task

EPSILON = 0.1
UCB_WIDTH = {"bernoulli": 0.2, "gaussian": 0.4}  # 0.4 times the largest standard deviation of a pull
PRIOR = {("bernoulli", "uniform"): (0.5, 2), ("gaussian", "normal"): (0.0, 1), ("gaussian", "uniform"): (0.5, 12)}
"""The mean of the arms' means, and the number of pulls that this knowledge is worth: the variance of a pull over that
of the means (Bühlmann 1967). For the first two laws this gives the posterior mean; for the third, the best linear
estimate."""


def bandit_references(config: BanditConfig) -> dict[str, Reference]:
    """References by name, without `random`. Gittins' index is for Bernoulli rewards alone."""
    policies = Policies(config)
    references = {
        "epsilon-greedy": Reference(policies.epsilon_greedy),
        "UCB1": Reference(policies.ucb1),
        "UCB with prior": Reference(policies.ucb_with_prior),
        "Thompson sampling": Reference(policies.thompson),
        "Gittins": Reference(policies.gittins),
        "clairvoyant": Reference(policies.clairvoyant),
    }
    if config.rewards != "bernoulli":
        del references["Gittins"]
    return references


@dataclass(frozen=True)
class Policies:
    """The `act` functions; each returns the arm to pull [N, E]."""

    config: BanditConfig

    def epsilon_greedy(self, task: Task, state: State, memory: None, generator: Generator) -> Tensor:
        """The arm of the highest expected mean, or with probability 0.1 any arm."""
        mean, weight = PRIOR[self.config.rewards, self.config.prior]
        best = ((state.rewards + mean * weight) / (state.pulls + weight)).argmax(-1)
        anywhere = torch.randint(self.config.num_arms, best.shape, generator=generator, device=best.device)
        return torch.where(torch.rand(best.shape, generator=generator, device=best.device) < EPSILON, anywhere, best)

    def ucb1(self, task: Task, state: State, memory: None, generator: Generator) -> Tensor:
        """Each arm once, then the highest mean + √(2 ln t / pulls), where t counts all pulls so far."""
        pulls = state.pulls.float()
        log_t = pulls.sum(-1, keepdim=True).clamp_min(1).log()
        index = (state.rewards + (2 * log_t * pulls).sqrt()) / pulls.clamp_min(1)
        return torch.where(pulls == 0, torch.inf, index).argmax(-1)

    def ucb_with_prior(self, task: Task, state: State, memory: None, generator: Generator) -> Tensor:
        """The highest expected mean + c √(2 ln(t + 1) / (pulls + prior pulls)), with a small c: not every arm is tried.

        The returns that RL² gives for UCB1 are of this kind; UCB1 as published first pulls all arms, and its width,
        safe for every problem, is far too large for these horizons. c is the best of a coarse search.
        """
        mean, weight = PRIOR[self.config.rewards, self.config.prior]
        pulls = state.pulls + float(weight)
        log_t = (1 + state.pulls.sum(-1, keepdim=True)).log()
        width = UCB_WIDTH[self.config.rewards] * (2 * log_t / pulls).sqrt()
        return ((state.rewards + mean * weight) / pulls + width).argmax(-1)

    def thompson(self, task: Task, state: State, memory: None, generator: Generator) -> Tensor:
        """The arm that is best in one draw from the posterior, which is exact for each law."""
        pulls = state.pulls.float()
        if self.config.rewards == "bernoulli":
            won, lost = (sample_gamma(1 + x, generator) for x in (state.rewards.float(), pulls - state.rewards))
            return (won / (won + lost)).argmax(-1)
        if self.config.prior == "normal":
            noise = torch.randn(pulls.shape, generator=generator, device=pulls.device)
            return (state.rewards / (1 + pulls) + noise / (1 + pulls).sqrt()).argmax(-1)
        uniform = torch.rand(pulls.shape, generator=generator, device=pulls.device).double()
        return truncated_normal(state.rewards.double(), pulls.double(), uniform).argmax(-1)

    def gittins(self, task: Task, state: State, memory: None, generator: Generator) -> Tensor:
        """The arm of the highest finite-horizon index. Its table is computed on first use and kept."""
        remaining = self.config.horizon - state.pulls.sum(-1, keepdim=True)
        return gittins_table(self.config.horizon, state.pulls.device)(state.pulls, state.rewards, remaining).argmax(-1)

    def clairvoyant(self, task: Task, state: State, memory: None, generator: Generator) -> Tensor:
        """The arm of the highest true mean, which it is told: the ceiling, n K / (K + 1) for the Bernoulli law."""
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


def truncated_normal(total: Tensor, pulls: Tensor, uniform: Tensor) -> Tensor:
    """Draws from the posterior of a mean ~ U[0, 1] after `pulls` unit-variance rewards that sum to `total`.

    That is N(total / pulls, 1 / pulls) cut to [0, 1]. All arguments are float64 of one shape; `uniform` in [0, 1).
    """
    spread = pulls.clamp_min(1).rsqrt()
    mean = total / pulls.clamp_min(1)
    mirrored = mean < 0.5  # so that both ends lie in the lower tail, where the normal integral is precise
    mean = torch.where(mirrored, 1 - mean, mean)
    low, high = torch.special.ndtr(-mean / spread), torch.special.ndtr((1 - mean) / spread)
    draw = (mean + spread * torch.special.ndtri(low + uniform * (high - low))).clamp(0, 1)
    return torch.where(pulls == 0, uniform, torch.where(mirrored, 1 - draw, draw))


@dataclass(frozen=True)
class GittinsTable:
    """Finite-horizon indices of a Bernoulli arm with a Beta(1, 1) prior: n³/6 entries of two bytes."""

    horizon: int
    """n; an entry has pulls + remaining <= n."""
    levels: Tensor
    """The indices as int16, from -32768 for 0 to 32767 for 1; for each number of pulls a block [remaining, won]."""
    starts: Tensor
    """[n] where the block of each number of pulls begins."""

    def __call__(self, pulls: Tensor, won: Tensor, remaining: Tensor) -> Tensor:
        """The index of arms that paid `won` times in `pulls` pulls, with `remaining` pulls to go. All broadcast."""
        pulls = pulls.long()
        entry = self.starts[pulls] + (remaining - 1) * (pulls + 1) + won
        return (self.levels[entry] + 32768.0) / 65535.0


@lru_cache(maxsize=8)
def gittins_table(horizon: int, device: torch.device, num_rates: int | None = None) -> GittinsTable:
    """Indices for every state an arm can be in during `horizon` pulls.

    The index of an arm is the rate λ at which it is worth no more than an arm known to pay λ. Against that arm, with m
    pulls to go and success probability p = (won + 1) / (pulls + 2), the unknown arm is worth an additional

        g_m = p - λ + p W_{m-1}(pulls + 1, won + 1) + (1 - p) W_{m-1}(pulls + 1, won),   W_m = max(0, g_m), W_0 = 0

    since going back from the known arm never pays: it teaches nothing. g falls with λ, and the index is its root. It is
    found by backward induction over `pulls` for `num_rates` rates at once, and linear interpolation between the two
    where the sign of g changes. The rates are spaced as sin², denser towards 0 and 1 as posteriors are; 257 of them
    leave an error of 0.0001 (root mean square; 0.0006 at most). The sum of `pulls` and m is the same on both sides of
    the recursion: each sum is an induction of its own, and as many are run together as makes large enough tensors.
    """
    num_rates = num_rates or (1025 if horizon <= 100 else 257)
    rates = torch.linspace(0, torch.pi / 2, num_rates).sin() ** 2
    sizes = [(horizon - pulls) * (pulls + 1) for pulls in range(horizon)]
    starts = torch.tensor([0, *sizes[:-1]]).cumsum(0)
    levels = torch.empty(sum(sizes), dtype=torch.int16)
    blocks = [block.view(-1, pulls + 1) for pulls, block in enumerate(levels.split(sizes))]  # [m - 1, won]
    group = max(1, 2**20 // (num_rates * horizon))
    for first in range(1, horizon + 1, group):
        last = min(first + group, horizon + 1)  # pulls + m from `first` to `last` - 1
        loss = torch.zeros(last, last - first, num_rates)  # -W [won, pulls + m, λ], at the number of pulls above
        for pulls in range(last - 2, -1, -1):
            above = loss[:, max(0, pulls + 1 - first) :]  # the sums where m >= 1
            p = (torch.arange(1, pulls + 2) / (pulls + 2)).view(-1, 1, 1)
            g = torch.lerp(above[: pulls + 1], above[1 : pulls + 2], p).add_(rates - p)  # negated, so it rises with λ
            after = torch.searchsorted(g, torch.zeros(*g.shape[:2], 1))  # negative at λ = 0 and positive at 1
            low, high = g.gather(-1, after - 1), g.gather(-1, after)
            root = rates[after - 1] + (rates[after] - rates[after - 1]) * low / (low - high)
            row = max(first - pulls - 1, 0)
            entries = blocks[pulls][row : row + root.shape[1]]
            entries.copy_((root[..., 0].T * 65535 - 32768).round())
            torch.clamp(g, max=0, out=above[: pulls + 1])
    return GittinsTable(horizon, levels.to(device), starts.to(device))


def bayes_optimal_value(num_arms: int, num_pulls: int) -> float:
    """The largest expected sum of `num_pulls` rewards on arms with p ~ U[0, 1]^K, by exact dynamic programming.

    A state is the multiset of (won, lost) of the arms that were pulled: which arm is which does not matter. With ten
    arms or more there are 4,435 such states for 10 pulls and about 162,000 for 16.

    Raises:
        InputError: for fewer than one arm or pull, or more than 16 pulls.
    """
    require(num_arms >= 1, f"The number of arms must be at least 1, not {num_arms}.")
    require(1 <= num_pulls <= 16, f"The exact value is for 1 to 16 pulls, not {num_pulls}.")

    @cache
    def value(seen: tuple[tuple[int, int], ...], remaining: int) -> float:
        if remaining == 0:
            return 0.0
        best = 0.0
        for arm in set(seen) | ({(0, 0)} if len(seen) < num_arms else set()):
            rest = list(seen)
            if arm in rest:
                rest.remove(arm)
            won, lost = arm
            p = (won + 1) / (won + lost + 2)
            after_win = value(tuple(sorted([*rest, (won + 1, lost)])), remaining - 1)
            after_loss = value(tuple(sorted([*rest, (won, lost + 1)])), remaining - 1)
            best = max(best, p * (1 + after_win) + (1 - p) * after_loss)
        return best

    return value((), num_pulls)
