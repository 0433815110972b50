"""Card games of POPGym that need a memory: RepeatPrevious, CountRecall and Autoencode."""

from envs.popgym.env import Autoencode, CountRecall, RepeatPrevious
from envs.popgym.task import AUTOENCODE_PRESETS, COUNT_RECALL_PRESETS, REPEAT_PREVIOUS_PRESETS

__all__ = [
    "AUTOENCODE_PRESETS",
    "COUNT_RECALL_PRESETS",
    "REPEAT_PREVIOUS_PRESETS",
    "Autoencode",
    "CountRecall",
    "RepeatPrevious",
]
