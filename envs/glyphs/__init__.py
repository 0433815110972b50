"""One-shot label prediction on letters, and its active form, in which a label can be asked for."""

from envs.glyphs.env import Glyphs
from envs.glyphs.task import PRESETS, GlyphsConfig, State, Task

__all__ = ["PRESETS", "Glyphs", "GlyphsConfig", "State", "Task"]
