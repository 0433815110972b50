"""The finite-horizon index of a Bernoulli arm, and the exact value of a small bandit.

The index: Bradt, Johnson & Karlin 1956; Kaufmann 2018. Gittins' theorem makes such an index optimal only for an
infinite discounted horizon. With n pulls it is an excellent approximation: `bayes_optimal_value` tells how close.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import torch
from torch import Tensor

from envs.errors import require


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
