"""Random tabular MDPs."""

from envs.tabular.env import Tabular
from envs.tabular.task import PRESETS, State, TabularConfig, Task

__all__ = ["PRESETS", "State", "Tabular", "TabularConfig", "Task"]
