"""Bandits for tests, and the value and returns of their references."""

from __future__ import annotations

from functools import cache

import torch
from torch import Generator

from envs.bandit import Bandit, BanditConfig
from envs.bandit.gittins import gittins_table

CPU = torch.device("cpu")


def bandit(*args, **fields) -> Bandit:
    return Bandit(BanditConfig(*args, **fields), CPU)


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def index(pulls: int, won: int, remaining: int, horizon: int = 30) -> float:
    return gittins_table(horizon, CPU)(*(torch.tensor(x) for x in (pulls, won, remaining))).item()


@cache
def greedy_value(arms: tuple[tuple[int, int], ...], remaining: int, horizon: int) -> float:
    """Exact value of the index policy from a state of (won, lost) for each arm."""
    if remaining == 0:
        return 0.0
    indices = [index(won + lost, won, remaining, horizon) for won, lost in arms]
    k = indices.index(max(indices))
    won, lost = arms[k]
    p = (won + 1) / (won + lost + 2)
    win, loss = (tuple(sorted([*arms[:k], after, *arms[k + 1 :]])) for after in ((won + 1, lost), (won, lost + 1)))
    win_value, loss_value = (greedy_value(state, remaining - 1, horizon) for state in (win, loss))
    return p * (1 + win_value) + (1 - p) * loss_value
