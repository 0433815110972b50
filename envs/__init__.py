"""Task distributions as batched torch environments, with Gymnasium and Stable-Baselines3 interfaces.

    import envs
    env = envs.make("point", preset="finn2017")                      # batched torch interface
    env = gymnasium.make("metarl/Point-v0", preset="finn2017")       # Gymnasium, after `import envs`

Importing this package registers the Gymnasium ids. It never imports `metarl`.
"""

from envs import threads  # noqa: F401  first: torch reads what it sets

# isort: split
from envs import bandit, contextual_bandit, control_map, glyphs, gridworld, key_to_door, point, popgym, tabular
from envs.checking import check, check_env
from envs.core import SPLITS, Env, Reference, StepResult, Transition, equal_counts, fresh_splits, task_generator
from envs.errors import EnvironmentFault, InputError
from envs.informed import informed
from envs.locomotion import ant, half_cheetah, rand_params
from envs.registry import FAMILIES, Family, check_device, family, is_known, make, make_config, register
from envs.structs import Struct
from envs.tasks import describe_task, load_tasks, save_tasks
from envs.workers import from_gymnasium

__all__ = [
    "DISTRIBUTION",
    "FAMILIES",
    "OURS",
    "SPLITS",
    "Env",
    "EnvironmentFault",
    "Family",
    "InputError",
    "Reference",
    "StepResult",
    "Struct",
    "Transition",
    "check",
    "check_device",
    "check_env",
    "describe_task",
    "equal_counts",
    "family",
    "fresh_splits",
    "from_gymnasium",
    "informed",
    "is_known",
    "load_tasks",
    "make",
    "make_config",
    "register",
    "save_tasks",
    "task_generator",
]

DISTRIBUTION = "metarl-toolkit"
"""Name of the distribution this package comes from; `metarl` checks it, since `envs` is a common folder name."""

register("point", point.Point, point.PRESETS)
register("control-map", control_map.ControlMap, control_map.PRESETS)
register("bernoulli-bandit", bandit.Bandit, bandit.BERNOULLI_PRESETS)
register("gaussian-bandit", bandit.GaussianBandit, bandit.GAUSSIAN_PRESETS)
register("contextual-bandit", contextual_bandit.ContextualBandit, contextual_bandit.PRESETS)
register("tabular-mdp", tabular.Tabular, tabular.PRESETS, gym_id="metarl/TabularMDP-v0")
register("gridworld", gridworld.GridWorld, gridworld.PRESETS, gym_id="metarl/GridWorld-v0")
register("dark-room", gridworld.GridWorld, gridworld.DARK_ROOM_PRESETS)
register("key-to-door", key_to_door.KeyToDoor, key_to_door.PRESETS)
register("repeat-previous", popgym.RepeatPrevious, popgym.REPEAT_PREVIOUS_PRESETS)
register("count-recall", popgym.CountRecall, popgym.COUNT_RECALL_PRESETS)
register("autoencode", popgym.Autoencode, popgym.AUTOENCODE_PRESETS)
register("glyphs", glyphs.Glyphs, glyphs.PRESETS)
register("half-cheetah-vel", half_cheetah.HalfCheetahVel, half_cheetah.VEL_PRESETS)
register("half-cheetah-dir", half_cheetah.HalfCheetahDir, half_cheetah.DIR_PRESETS)
register("ant-vel", ant.AntVel, ant.VEL_PRESETS)
register("ant-dir", ant.AntDir, ant.DIR_PRESETS)
register("ant-goal", ant.AntGoal, ant.GOAL_PRESETS)
register("walker2d-params", rand_params.Walker2dParams, rand_params.PRESETS)
register("hopper-params", rand_params.HopperParams, rand_params.PRESETS)

OURS = frozenset(FAMILIES)
"""The families of this package. Others are checked before they are trained on."""
