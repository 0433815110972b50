"""Environments, generators and episodes of glyphs."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from envs.glyphs import Glyphs, GlyphsConfig, State, Task


def glyphs(num_letters: int = 3, times: int = 4, **fields) -> Glyphs:
    return Glyphs(GlyphsConfig(num_letters, num_letters * times, **fields), torch.device("cpu"))


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def play(env: Glyphs, task: Task, actions: Tensor, seed: int = 0) -> tuple[State, Tensor, Tensor]:
    """States [N, H + 1, E], observations [N, H + 1, E, O] and rewards [N, H, E] under actions [N, H, E]."""
    draws = generator(seed)
    state, obs = env.reset(task, actions.shape[2], draws)
    states, seen, rewards = [state], [obs], []
    for t in range(actions.shape[1]):
        result = env.step(task, states[-1], actions[:, t], draws)
        states.append(result.state)
        seen.append(result.obs)
        rewards.append(result.reward)
    return State.stack(states, 1), torch.stack(seen, 1), torch.stack(rewards, 1)
