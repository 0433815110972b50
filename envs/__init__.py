"""Task distributions as batched torch environments, with Gymnasium and Stable-Baselines3 faces.

    import envs
    env = envs.make("point", preset="finn2017")                      # batched torch interface
    env = gymnasium.make("metarl/Point-v0", preset="finn2017")       # Gymnasium, after `import envs`

Importing this package registers the Gymnasium ids. It never imports `metarl`.
"""

from envs import point
from envs.core import SPLITS, Env, Reference, StepResult, Transition
from envs.errors import InputError
from envs.registry import FAMILIES, Family, check_device, family, make, make_config, register
from envs.structs import Struct

__all__ = [
    "DISTRIBUTION", "FAMILIES", "SPLITS", "Env", "Family", "InputError", "Reference", "StepResult", "Struct",
    "Transition",    "check_device", "family", "make", "make_config", "register",
]  # fmt: skip

DISTRIBUTION = "metarl-toolkit"
"""Name of the distribution this package comes from; `metarl` checks it, since `envs` is a common folder name."""

register("point", point.Point, point.PRESETS)
