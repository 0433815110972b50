"""Bandits whose best arm depends on a context that is seen."""

from envs.contextual_bandit.env import ContextualBandit
from envs.contextual_bandit.task import PRESETS, ContextualBanditConfig, State, Task

__all__ = ["PRESETS", "ContextualBandit", "ContextualBanditConfig", "State", "Task"]
