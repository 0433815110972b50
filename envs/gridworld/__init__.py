"""Gridworlds with a hidden goal."""

from envs.gridworld.env import GridWorld
from envs.gridworld.references import Search, ShortestPath
from envs.gridworld.task import DARK_ROOM_PRESETS, PRESETS, GridWorldConfig, PermutedTask, RandomWallsTask, State, Task

__all__ = [
    "DARK_ROOM_PRESETS",
    "PRESETS",
    "GridWorld",
    "GridWorldConfig",
    "PermutedTask",
    "RandomWallsTask",
    "Search",
    "ShortestPath",
    "State",
    "Task",
]
