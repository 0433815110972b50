"""Registry: id -> family. One registration gives the torch interface, Gymnasium ids and command-line presets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import torch

from envs import extras
from envs.contract import check_description
from envs.core import Env
from envs.defaults import Horizon
from envs.errors import InputError, require, unknown
from envs.fields import check_field, field_types


@dataclass(frozen=True)
class Family:
    """A registered family. `build` calls its Env class as `env_class(config, device)` and checks the result."""

    id: str
    gym_id: str
    env_class: Callable[[Any, torch.device], Env]
    presets: Mapping[str, Any]  # name -> frozen config dataclass

    @property
    def default(self) -> str:
        """The preset that is meant where none is named: the first."""
        return next(iter(self.presets))

    def build(self, config: Any, device: torch.device | str) -> Env:
        """The environment of a configuration. Raises `InputError` when it is not described as `Env` says."""
        missing = ", ".join(sorted(getattr(self.env_class, "__abstractmethods__", ())))
        require(
            not missing, f"The class of the family {self.id!r} lacks methods that an envs.Env must have: {missing}."
        )
        env = self.env_class(config, check_device(device))
        check_description(env)
        return env


FAMILIES: dict[str, Family] = {}


def register(
    id: str,
    env_class: Callable[[Any, torch.device], Env],
    presets: Mapping[str, Any] | None = None,
    gym_id: str | None = None,
) -> None:
    """Add a family under `id`, with named configurations; also makes the Gymnasium id `gym_id`.

    Args:
        id: lower-case name, such as `"point"`.
        env_class: called as `env_class(config, device)`.
        presets: name -> config, all of one frozen dataclass type; the first one is the default. Where there are none,
            those of `env_class.presets`, or else one with the class's `horizon`.
        gym_id: Gymnasium id; by default `metarl/<Id>-v0`.

    Raises:
        InputError: when another class has this `id`, or `presets` is empty or not as above.
    """
    if presets is None:
        presets = getattr(env_class, "presets", None)
    if presets is None:
        horizon: Any = getattr(env_class, "horizon", None)
        require(horizon is not None, f"The family {id!r} needs presets, or a class with a horizon.")
        presets = {"default": Horizon(horizon)}
    require(len(presets) > 0, f"The family {id!r} needs at least one preset.")
    configs = all(dataclasses.is_dataclass(config) and not isinstance(config, type) for config in presets.values())
    alike = len({type(config) for config in presets.values()}) == 1
    require(configs and alike, f"The presets of the family {id!r} must be objects of one dataclass, its configuration.")
    taken = FAMILIES.get(id)
    require(taken is None or taken.env_class is env_class, f"The family id {id!r} is already taken; choose another.")
    gym_id = gym_id or f"metarl/{''.join(part.capitalize() for part in id.split('-'))}-v0"
    FAMILIES[id] = Family(id, gym_id, env_class, dict(presets))
    if gym_id not in gymnasium.registry:
        gymnasium.register(
            gym_id,
            entry_point="envs.adapters.gym:TaskEnv",
            vector_entry_point="envs.adapters.gym:TaskVectorEnv",
            kwargs={"family": id},
        )


def is_known(id: str) -> bool:
    """Is a family registered under `id`? One of a package that is an extra is registered here.

    Raises `InputError` where that package is missing, or has no such family.
    """
    if id not in FAMILIES and (found := extras.find(id)) is not None:
        register(id, found)
    return id in FAMILIES


def family(id: str) -> Family:
    """The family of that id. Raises `InputError` with the nearest name when there is none, and as `is_known`."""
    if not is_known(id):
        raise unknown("environment", id, FAMILIES)
    return FAMILIES[id]


def make_config(id: str, preset: str | None = None, **fields: Any) -> Any:
    """The config of a family's preset (default: its first) with `fields` replaced. Raises `InputError`."""
    presets = family(id).presets
    preset = family(id).default if preset is None else preset
    if preset not in presets:
        raise unknown(f"preset of {id!r}", preset, presets)
    config = presets[preset]
    types = field_types(config)
    for name, value in fields.items():
        if name not in types:
            raise unknown(f"field of {id!r}", name, types)
        check_field(name, value, types[name])
    return dataclasses.replace(config, **fields)


def make(id: str, preset: str | None = None, device: torch.device | str = "cpu", **fields: Any) -> Env:
    """Build the batched torch environment of a family.

    Args:
        id: family id, such as `"point"`; `envs.FAMILIES` lists them.
        preset: named configuration; default: the family's first.
        device: where tasks and states live.
        **fields: single fields of the configuration to replace, such as `horizon=50`.

    Raises:
        InputError: for an unknown id, preset or field, an impossible value, or `cuda` without CUDA.
    """
    config = make_config(id, preset, **fields)
    return family(id).build(config, device)


def check_device(device: torch.device | str) -> torch.device:
    """A usable torch device. Raises `InputError` when it does not exist on this machine."""
    try:
        device = torch.device(device)
    except RuntimeError:
        raise InputError(f"Unknown device {device!r}; use 'cpu' or 'cuda'.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("Device 'cuda' was asked for, but PyTorch sees no CUDA device here; use 'cpu'.")
    return device
