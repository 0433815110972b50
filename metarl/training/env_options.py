"""Options of an environment that are not those that a run was trained with, such as a longer horizon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gymnasium.spaces import flatdim

import envs
from envs.core import Env
from envs.errors import require
from metarl.training.config import from_dict, to_dict


def under(trained: Any, options: Mapping[str, Any] | None, family: str) -> Any:
    """The configuration of the environment that a run was trained in, with other options.

    Raises `InputError` for an option that the family lacks, a value that does not fit, and where the policy would not.
    """
    config = from_dict(trained, dict(options or {}))
    if config != trained:
        check_same_spaces(*(envs.family(family).build(own, "cpu") for own in (config, trained)))
    return config


def changed(config: Any, trained: Any) -> dict[str, Any]:
    """The options that differ, by name."""
    own = to_dict(trained)
    return {name: value for name, value in to_dict(config).items() if value != own[name]}


def check_same_spaces(env: Env, trained_in: Env) -> None:
    """Raise `InputError` unless a policy that was trained in one environment fits the other."""
    for name in ("observation_space", "action_space"):
        here, there = getattr(env, name), getattr(trained_in, name)
        require(
            flatdim(here) == flatdim(there),
            f"With these options the {name} of the environment is {here}, and the run was trained with {there}.",
        )
