"""POPGym (Morad et al. 2023; popgym 1.0.7): each of its environments as a family with a single task.

POPGym asks for memory within an episode and has no distribution of tasks: a trial is an episode, whose cards, mines or
start follow from its seed. Its score is MMER.
"""

from __future__ import annotations

import re
from typing import Any

from gymnasium.spaces import Discrete
from popgym.envs import ALL

from envs.popgym.task import MMER_STEPS
from envs.workers import from_gymnasium
from envs.workers.family import GymnasiumFamily

CLASSES: dict[str, Any] = {re.sub("(?<=[a-z])(?=[A-Z])", "-", env.__name__).lower(): env for env in ALL}
"""Environments by name: repeat-previous-easy is RepeatPreviousEasy."""


def names() -> list[str]:
    return list(CLASSES)


def family(name: str) -> GymnasiumFamily:
    """A family by one of `names()`."""
    env_class = CLASSES[name]
    found = from_gymnasium(
        make=lambda: env_class(),
        tasks={"game": Discrete(1)},
        apply=lambda env, task: None,
        horizon=longest_episode(env_class()),
    )
    found.mmer_steps = MMER_STEPS
    return found


def longest_episode(env: Any) -> int:
    """Steps after which an episode ends at the latest. The environments say it in different ways."""
    if hasattr(env, "deck_size"):  # HigherLower, whose first card is dealt by reset
        return env.deck_size - 1
    return getattr(env, "max_episode_length", None) or env.episode_length
