"""Bernoulli and Gaussian bandits."""

from envs.bandit.env import Bandit, GaussianBandit
from envs.bandit.task import BERNOULLI_PRESETS, GAUSSIAN_PRESETS, BanditConfig, State, Task

__all__ = ["BERNOULLI_PRESETS", "GAUSSIAN_PRESETS", "Bandit", "BanditConfig", "GaussianBandit", "State", "Task"]
