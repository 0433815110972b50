"""Gridworlds with a hidden goal."""

from envs.gridworld.env import GridWorld
from envs.gridworld.references import Search, ShortestPath
from envs.gridworld.task import PRESETS, GridWorldConfig, RandomWallsTask, State, Task

__all__ = ["PRESETS", "GridWorld", "GridWorldConfig", "RandomWallsTask", "Search", "ShortestPath", "State", "Task"]
