"""TrainConfig: everything that decides what a run computes, and how its parts become objects."""

from __future__ import annotations

import dataclasses
import reprlib
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

from torch import Generator

from envs.core import Env
from envs.errors import require
from metarl.algorithms.base import Algorithm
from metarl.algorithms.maml import MAMLConfig
from metarl.algorithms.recurrent_ppo import RecurrentPPOConfig
from metarl.algorithms.reptile import ReptileConfig
from metarl.algorithms.sb3_ppo import SB3PPOConfig
from metarl.policies.gru import GRUConfig
from metarl.policies.metanet import MetaNetConfig
from metarl.policies.mlp import MLPConfig, MLPPolicy

Algorithms = MAMLConfig | ReptileConfig | RecurrentPPOConfig | SB3PPOConfig
Policies = MLPConfig | GRUConfig | MetaNetConfig


@dataclass(frozen=True)
class TrainConfig:
    """A meta-training run. Together with the environment's config and the seed it fixes every number."""

    env: str = "point"
    """Environment family."""
    env_preset: str = "finn2017"
    """Preset of the family; single fields are set with --env.FIELD."""
    seed: int = 0
    """Seed of parameters, tasks, actions and environments."""
    num_iterations: int = 50
    """Meta-iterations; with 0 the fresh policy is what is evaluated."""
    meta_batch_size: int = 20
    """Tasks in a meta-iteration (N)."""
    num_envs: int = 20
    """Episodes per task, before adaptation and again after each inner step (E)."""
    eval_num_tasks: int = 1000
    """Tasks in evaluation."""
    eval_num_envs: int = 40
    """Episodes per task and adaptation step in evaluation."""
    checkpoint_every: int = 10
    """Meta-iterations between checkpoints; one is always written at the end."""
    shards: int | None = None
    """Parts of a meta-batch with random streams of their own. Processes share them, so their number must divide this;
    by default as many as torchrun starts when the run is made, or 1."""
    init_sb3: str | None = None
    """A .zip that Stable-Baselines3 saved: a model whose policy is the start, of a method that adapts by gradients.
    Its tensors and the text beside them are read; nothing is unpickled."""
    policy: Policies = field(default_factory=MLPConfig)
    algorithm: Algorithms = field(default_factory=MAMLConfig)

    def __post_init__(self) -> None:
        require(self.num_iterations >= 0, f"num_iterations must be at least 0, not {self.num_iterations}.")
        for name in ("meta_batch_size", "num_envs", "eval_num_tasks", "eval_num_envs", "checkpoint_every"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, not {getattr(self, name)}.")
        shards = 1 if self.shards is None else self.shards
        require(shards >= 1, f"shards must be at least 1, not {shards}.")
        require(
            shards == 1 or self.algorithm.several_processes,
            "Stable-Baselines3 trains in one process; start this method without torchrun, and without --shards.",
        )
        require(
            self.meta_batch_size % shards == 0, "meta_batch_size must be a multiple of the number of shards (by "
            f"default that of processes), and {self.meta_batch_size} is none of {shards}.",
        )  # fmt: skip
        require(0 <= self.seed < 2**63, f"seed must lie in 0 .. 2^63 - 1, not {self.seed}.")
        require(
            self.init_sb3 is None or self.algorithm.takes_a_policy,
            "A model of Stable-Baselines3 can be the start of a method that adapts by gradient steps only; leave "
            "--init-sb3 out, or choose maml or reptile.",
        )


def make_algorithm(config: TrainConfig, env: Env, generator: Generator, start: MLPPolicy | None = None) -> Algorithm:
    """The method of a run, with fresh parameters; see `AlgorithmConfig.make`."""
    return config.algorithm.make(env, config.policy, generator, config.num_iterations, config.shards or 1, start)


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as a JSON-able dict; where it holds another one, `kind` names its class."""
    out: dict[str, Any] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        nested = dataclasses.is_dataclass(value)
        out[f.name] = {"kind": type(value).__name__, **to_dict(value)} if nested else value
    return out


def from_dict(default: Any, values: dict[str, Any], whole: bool = False) -> Any:
    """A configuration with the fields that JSON holds, each of the type it has in `default`.

    Args:
        whole: require all fields, as where a run is read: a default need not be what it was made with.

    Raises:
        TypeError: when one is of another type, unknown, or missing.
    """
    changes: dict[str, Any] = {}
    fields = {f.name: f for f in dataclasses.fields(default)}
    for name, value in values.items():
        if name not in fields:
            raise TypeError(f"{type(default).__name__} has no field {name!r}")
        old = getattr(default, name)
        kind = (int, float) if fields[name].type in (float, "float") else type(old)
        if dataclasses.is_dataclass(old) and isinstance(value, dict):
            inner = {k: v for k, v in value.items() if k != "kind"}
            made = from_dict(_default_of_kind(default, name, value.get("kind")), inner, whole)
            if whole:
                _require_fields(name, {"kind"} - value.keys())
            value, kind = made, object
        elif isinstance(value, list):
            value = tuple(value)
        optional = any(word in str(fields[name].type) for word in ("None", "Optional", "Any"))
        right = optional if value is None else old is None or isinstance(value, kind)
        if isinstance(value, bool) and isinstance(old, int | float):
            right = isinstance(old, bool)
        if not right:
            raise TypeError(f"{name} cannot be {reprlib.repr(value)} where {old!r} is right")
        changes[name] = value
    if whole:
        _require_fields(type(default).__name__, fields.keys() - values.keys())
    return dataclasses.replace(default, **changes)


def _require_fields(name: str, missing: set[str]) -> None:
    if missing:
        names = ", ".join(map(repr, sorted(missing)))
        raise TypeError(f"{name} lacks {names}; add what the run was made with")


def _default_of_kind(config: Any, name: str, kind: Any) -> Any:
    """What a field of `config` may hold that is of this class; what it holds where `kind` is None."""
    held = getattr(config, name)
    if kind in (None, type(held).__name__):
        return held
    allowed = {c.__name__: c for c in get_args(get_type_hints(type(config))[name])} or {type(held).__name__: held}
    if kind not in allowed:
        raise TypeError(f"{name} cannot be of kind {kind!r}, only of {' or '.join(allowed)}")
    return allowed[kind]()
