"""Dark key-to-door."""

from envs.key_to_door.env import KeyToDoor
from envs.key_to_door.task import PRESETS, KeyToDoorConfig, State, Task

__all__ = ["PRESETS", "KeyToDoor", "KeyToDoorConfig", "State", "Task"]
