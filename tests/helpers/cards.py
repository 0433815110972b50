"""Card games for tests."""

from __future__ import annotations

import torch
from torch import Generator

import envs
from envs.popgym.env import CardGame

GAMES = ("repeat-previous", "count-recall", "autoencode")
CELLS = [(game, preset) for game in GAMES for preset in ("easy", "medium", "hard")]


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def make(game: str, preset: str = "easy", **fields) -> CardGame:
    env = envs.make(game, preset, **fields)
    assert isinstance(env, CardGame)
    return env


def play(env: CardGame, task: envs.Struct, actions: list[int]) -> torch.Tensor:
    """The rewards [T] of one lane that answers `actions` from the start."""
    state, _ = env.reset(task, 1, generator())
    rewards = []
    for action in actions:
        result = env.step(task, state, torch.tensor([[action]]), generator())
        state = result.state
        rewards.append(result.reward[0, 0])
    return torch.stack(rewards)
