"""TrainConfig: everything that decides what a run computes, and how its parts become objects."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args

from annotated_types import Ge, Lt
from torch import Generator

from envs.core import Env
from envs.errors import require, unknown
from envs.fields import Checked, NonNegativeInt, PositiveInt, check_field, field_types
from envs.structs import Struct
from metarl.algorithms.base import Algorithm, Setup
from metarl.algorithms.dpt import DPTConfig
from metarl.algorithms.maml import MAMLConfig
from metarl.algorithms.pearl import PEARLConfig
from metarl.algorithms.recurrent_ppo import RecurrentPPOConfig
from metarl.algorithms.reptile import ReptileConfig
from metarl.algorithms.sb3_ppo import SB3PPOConfig
from metarl.policies.in_context import InContextConfig
from metarl.policies.meta_networks import MetaNetworksConfig
from metarl.policies.metanet import MetaNetConfig
from metarl.policies.mlp import MLPConfig, MLPPolicy
from metarl.policies.rl2 import RL2Config
from metarl.policies.varibad import VariBADConfig

Algorithms = MAMLConfig | ReptileConfig | RecurrentPPOConfig | DPTConfig | SB3PPOConfig | PEARLConfig
Policies = MLPConfig | RL2Config | MetaNetConfig | MetaNetworksConfig | VariBADConfig | InContextConfig
Seed = Annotated[int, Ge(0), Lt(2**63)]


@dataclass(frozen=True)
class TrainConfig(Checked):
    """A meta-training run. Together with the environment's config and the seed it fixes every number."""

    env: str = "point"
    """Environment family."""
    env_preset: str = "finn2017"
    """Preset of the family; single fields are set with --env.FIELD."""
    seed: Seed = 0
    """Seed of parameters, tasks, actions and environments."""
    num_iterations: NonNegativeInt = 50
    """Meta-iterations; with 0 the untrained policy is evaluated."""
    meta_batch_size: PositiveInt = 20
    """Tasks in a meta-iteration (N)."""
    num_envs: PositiveInt = 20
    """Episodes per task, before adaptation and again after each inner step (E)."""
    eval_num_tasks: PositiveInt = 1000
    """Tasks in evaluation."""
    eval_num_envs: PositiveInt = 40
    """Episodes per task and adaptation step in evaluation."""
    checkpoint_every: PositiveInt = 10
    """Meta-iterations between checkpoints; one is always written at the end."""
    shards: PositiveInt | None = None
    """Parts of a meta-batch with random streams of their own. Processes share them, so their number must divide this;
    by default as many as torchrun starts when the run is made, or 1."""
    init_sb3: str | None = None
    """A model that Stable-Baselines3 saved as .zip: its policy is the initialization of a method that adapts by
    gradient steps. Its tensors and the text beside them are read; nothing is unpickled."""
    train_tasks: str | None = None
    """A .json file of tasks to train on, each as often as any other, instead of tasks drawn from the split train: a
    list of tasks, or what metarl envs saves. The run's folder keeps a copy."""
    policy: Policies = field(default_factory=MLPConfig)
    algorithm: Algorithms = field(default_factory=MAMLConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        shards = self.shards or 1
        require(
            shards == 1 or self.algorithm.several_processes,
            "This method trains in one process; start it without torchrun, and without --shards.",
        )
        require(
            self.meta_batch_size % shards == 0,
            "meta_batch_size must be a multiple of the number of shards (by default that of processes), and "
            f"{self.meta_batch_size} is not one of {shards}.",
        )
        require(
            self.init_sb3 is None or self.algorithm.takes_a_policy,
            "Only a method that adapts by gradient steps can start from a model of Stable-Baselines3; leave "
            "--init-sb3 out, or choose maml or reptile.",
        )


ADDED: dict[str, Any] = {
    "inner_scale": "task",
    "adapt": "all",
    "outer_stages": "last",
    "outer_baseline": "task",
    "context_size": 0,
    "free_episodes": 0,
    "novelty_coef": 0.0,
    "error_coef": 0.0,
    "pretrain_envs": 0,
    "growth": 0.0,
    "uncertainty": "log-variance",
    "next_obs_in_context": False,
    "pretrain_lr": 3e-3,
    "shuffle_goals": False,
    "distance_reward": False,
    "show_goal": False,
    "permute_actions": False,
    "reward_std": 1.0,
}
"""Fields that runs from before them lack, and what those were made with."""


def make_algorithm(
    config: TrainConfig,
    env: Env,
    generator: Generator,
    start: MLPPolicy | None = None,
    tasks: Struct | None = None,
) -> Algorithm:
    """The method of a run, with fresh parameters; see `AlgorithmConfig.make`."""
    setup = Setup(env, config.policy, generator, config.num_iterations, config.shards or 1, start, tasks)
    return config.algorithm.make(setup)


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields of a nested JSON object by their dotted names."""
    out: dict[str, Any] = {}
    for name, value in config.items():
        out |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return out


def with_options(config: Any, options: Mapping[str, Any]) -> Any:
    """A configuration with other values, by the names that they have on the command line, wherever they stand in it.

    Raises `InputError` for a name that is none, with the nearest one, and for a value that does not fit.
    """
    own = {field.name: field.name for field in dataclasses.fields(config)}
    places = {place.rpartition(".")[2]: place for place in flat(to_dict(config))} | own
    values: dict[str, Any] = {}
    for name, value in options.items():
        if name not in places or name == "kind":
            raise unknown("option", name, places.keys() - {"kind"})
        *parts, last = places[name].split(".")
        held = values
        for part in parts:
            held = held.setdefault(part, {})
        held[last] = value
    return from_dict(config, values)


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as a JSON-able dict; where it holds another one, `kind` names its class."""
    out: dict[str, Any] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        nested = dataclasses.is_dataclass(value)
        out[f.name] = {"kind": type(value).__name__, **to_dict(value)} if nested else value
    return out


def from_dict(default: Any, values: dict[str, Any], whole: bool = False) -> Any:
    """`default` with the fields that JSON holds; `kind` names the class of one that is a configuration itself.

    Args:
        whole: require all fields, as where a run is read: a default need not be what it was made with.

    Raises:
        InputError: for a field that is unknown, missing, or of another type.
    """
    where, hints = type(default).__name__, field_types(default)
    require(isinstance(values, dict), f"{where} must be an object with fields, not {reprlib.repr(values)}.")
    if whole:
        values = {**{name: value for name, value in ADDED.items() if name in hints}, **values}
    _check_names(where, set(values), set(hints), whole)
    changes = {}
    for name, value in values.items():
        held, hint = getattr(default, name), hints[name]
        if dataclasses.is_dataclass(held) and isinstance(value, dict):
            value = _part(name, held, hint, value, whole)
        elif isinstance(value, list):
            value = tuple(value)
        check_field(name, value, hint)
        changes[name] = value
    return dataclasses.replace(default, **changes)


def _part(name: str, held: Any, hint: Any, values: dict[str, Any], whole: bool) -> Any:
    """What a field that holds a configuration is to hold, of the kind that JSON names."""
    kinds = {kind.__name__: kind for kind in (type(held), *get_args(hint))}
    _check_names(name, {"kind"} & set(values), {"kind"}, whole)
    kind = str(values.get("kind", type(held).__name__))
    if kind not in kinds:
        raise unknown(f"kind of {name}", kind, kinds)
    start = held if kinds[kind] is type(held) else kinds[kind]()
    return from_dict(start, {key: value for key, value in values.items() if key != "kind"}, whole)


def _check_names(where: str, found: set[str], known: set[str], whole: bool) -> None:
    for name in sorted(found - known):
        raise unknown(f"field of {where}", name, known)
    missing = ", ".join(map(repr, sorted(known - found)))
    require(not (whole and missing), f"{where} lacks {missing}; add what the run was made with.")
