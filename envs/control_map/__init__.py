"""Reaching under a hidden map from action to motion."""

from envs.control_map.env import ControlMap
from envs.control_map.task import PRESETS, ControlMapConfig, State, Task

__all__ = ["PRESETS", "ControlMap", "ControlMapConfig", "State", "Task"]
