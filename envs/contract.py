"""Checks of what an Env must be and return. The error names the family, the field, what was found and what is expected.

A wrong shape would often broadcast and silently give wrong numbers. Rollouts and adapters check their first step:
only types, shapes, dtypes and devices, which reads nothing back from the device. `envs.check_env` checks more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor

from envs.core import Env, Reference, StepResult
from envs.errors import InputError
from envs.kinds import (
    ActionSpace,
    ObservationSpace,
    action_dtype,
    in_words,
    is_categorical,
    is_image,
    is_vector,
    obs_dtype,
    starts_at_zero,
)
from envs.structs import Struct

ATTRIBUTES: dict[str, tuple[Any, str]] = {
    "task_type": (type, "the class of a task"),
    "task_space": (spaces.Dict, "a gymnasium.spaces.Dict"),
    "observation_space": (ObservationSpace, "a Box or a MultiDiscrete"),
    "action_space": (ActionSpace, "a Box, a Discrete or a MultiDiscrete"),
    "horizon": (int, "a whole number of steps"),
    "splits": (Mapping, "a dict with a sentence for each split"),
    "device": (torch.device, "a torch.device"),
}
"""Attributes of an Env: what they must be instances of, and how to say so."""


def family_name(env: Env) -> str:
    """What errors call a family: its class, behind any proxy."""
    return env.name


def check_description(env: Any) -> None:
    """Raise `InputError` unless the attributes of an Env are those that `Env` documents."""
    if not isinstance(env, Env):
        raise InputError(f"What a family registers must make an envs.Env, not {_kind(env)}.")
    name = family_name(env)
    for attribute, (kind, words) in ATTRIBUTES.items():
        value = getattr(env, attribute, None)
        if not isinstance(value, kind) or isinstance(value, bool):
            came = value if isinstance(value, spaces.Space) else _kind(value)
            raise InputError(f"{name}.{attribute} must be {words}, not {came}.")
    if env.horizon < 1:
        raise InputError(f"{name}.horizon must be at least 1 step, not {env.horizon}.")
    seen, acted = env.observation_space, env.action_space
    if not (is_vector(seen) or is_image(seen) or is_categorical(seen)):
        right = "a one-dimensional Box of float32 or MultiDiscrete, or an image, a Box of uint8 [H, W, C]"
        raise InputError(f"{name}.observation_space must be {right}, not {in_words(seen)}.")
    if isinstance(acted, spaces.Box) and not is_vector(acted):
        raise InputError(f"{name}.action_space must be a one-dimensional Box of float32, not {in_words(acted)}.")
    if isinstance(acted, spaces.MultiDiscrete) and len(acted.shape) != 1:
        raise InputError(f"{name}.action_space must be a one-dimensional MultiDiscrete, not {in_words(acted)}.")
    for which, space in (("observation", seen), ("action", acted)):
        if not starts_at_zero(space):
            raise InputError(f"{name}.{which}_space must count from 0, as Discrete(2) does, not {in_words(space)}.")
    if not _is_struct(env.task_type):
        raise InputError(f"{name}.task_type must be an envs.Struct under @dataclass(frozen=True, eq=False).")
    fields = sorted(field.name for field in dataclasses.fields(env.task_type))  # type: ignore[arg-type]
    if fields != sorted(env.task_space):
        right = f"a space for each field of {env.task_type.__name__}, {_listed(fields)}"
        raise InputError(f"{name}.task_space must hold {right}, and it holds {_listed(env.task_space)}.")
    if not {"train", "validation", "test"} <= set(env.splits):
        raise InputError(f"{name}.splits must describe train, validation and test, not {_listed(env.splits)}.")


def draw_tasks(env: Env, n: int, generator: Generator, split: str = "train") -> Any:
    """`env.sample_tasks`, checked. Raises `InputError` unless it returns `n` tasks of the kind in `env.task_space`."""
    task = env.sample_tasks(n, generator, split)
    where = f"{family_name(env)}.sample_tasks({n}) must return"
    if not isinstance(task, env.task_type):
        raise InputError(f"{where} an object of class {env.task_type.__name__}, not {_kind(task)}.")
    for name, space in env.task_space.items():
        shape, dtype = space.shape or (), torch.from_numpy(np.empty(0, space.dtype)).dtype
        letters = f"[{', '.join(map(str, ('N', *shape)))}]"
        _check(env, f"{where} the task field {name!r}", getattr(task, name), letters, (n, *shape), dtype)
    return task


def check_reset(env: Env, returned: Any, num_tasks: int, num_envs: int) -> tuple[Any, Tensor]:
    """The state and obs that `env.reset` returned. Raises `InputError` unless they are as `Env.reset` says."""
    where = f"{family_name(env)}.reset() must return"
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise InputError(f"{where} (state, obs), not {_kind(returned)}.")
    _check_state(env, where, returned[0], (num_tasks, num_envs))
    _check_obs(env, where, returned[1], (num_tasks, num_envs))
    return returned


def check_step(env: Env, result: Any, state: Any, num_tasks: int, num_envs: int) -> None:
    """Raise `InputError` unless `result` is as `Env.step` says. `state` is that before the step."""
    where, lanes = f"{family_name(env)}.step() must return", (num_tasks, num_envs)
    if not isinstance(result, StepResult):
        raise InputError(f"{where} an envs.StepResult, not {_kind(result)}.")
    if type(result.state) is not type(state):
        right = f"a state of class {type(state).__name__}, as reset() does"
        raise InputError(f"{where} {right}, not {_kind(result.state)}.")
    _check_state(env, where, result.state, lanes)
    _check_obs(env, where, result.obs, lanes)
    _check(env, f"{where} reward", result.reward, "[N, E]", lanes, torch.float32)
    _check(env, f"{where} terminated", result.terminated, "[N, E]", lanes, torch.bool)


def check_action(env: Env, action: Any, num_tasks: int, num_envs: int, whose: str = "A policy or reference") -> None:
    """Raise `InputError` unless `action` is one of `env.action_space` for each lane, as far as shape and dtype go."""
    discrete = isinstance(env.action_space, spaces.Discrete)
    shape, dtype = env.action_space.shape or (), action_dtype(env.action_space)
    letters, where = "[N, E]" if discrete else "[N, E, A]", f"{whose} on {family_name(env)} must return"
    _check(env, f"{where} actions", action, letters, (num_tasks, num_envs, *shape), dtype)


def all_references(env: Env) -> dict[str, Reference]:
    """`env.references()`, checked. Raises `InputError` unless they are References by name with `random` among them."""
    found, where = env.references(), f"{family_name(env)}.references() must return"
    if not isinstance(found, dict) or "random" not in found:
        came = f"one of {_listed(found)}" if isinstance(found, dict) else _kind(found)
        raise InputError(f"{where} a dict that holds the reference 'random', not {came}.")
    for name, reference in found.items():
        if not isinstance(reference, Reference):
            raise InputError(f"{where} an envs.Reference as {name!r}, not {_kind(reference)}.")
    return found


def all_metrics(env: Env) -> dict[str, float]:
    """`env.metrics()`, checked. Raises `InputError` unless it returns numbers by name."""
    found, where = env.metrics(), f"{family_name(env)}.metrics() must return"
    if not isinstance(found, dict):
        raise InputError(f"{where} a dict of numbers, not {_kind(found)}.")
    for name, value in found.items():
        if not isinstance(value, int | float):
            raise InputError(f"{where} a plain number as {name!r}, not {_kind(value)}.")
    return found


def check_image(env: Env, image: Any, size: int = 480) -> np.ndarray:
    """The image that `env.render` returned. Raises `InputError` unless it is one of that size."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape != (size, size, 3):
        right = f"a numpy array uint8 {[size, size, 3]}"
        raise InputError(f"{family_name(env)}.render(size={size}) must return {right}, not {_kind(image)}.")
    return image


def task_dicts(env: Env, task: Any) -> list[dict[str, Any]]:
    """`env.task_to_dicts`, checked. Raises `InputError` unless it returns a dict with the fields of each task."""
    rows, where = env.task_to_dicts(task), f"{family_name(env)}.task_to_dicts() must return"
    if not isinstance(rows, list) or len(rows) != len(task):
        raise InputError(f"{where} a list with a dict for each of {len(task)} tasks, not {_kind(rows)}.")
    for row in rows:
        if not isinstance(row, dict) or set(row) != set(env.task_space):
            came = _listed(row) if isinstance(row, dict) else _kind(row)
            raise InputError(f"{where} dicts with the fields {_listed(env.task_space)}, not {came}.")
    return rows


def _check_state(env: Env, where: str, state: Any, lanes: tuple[int, int]) -> None:
    if not _is_struct(type(state)):
        right = "an envs.Struct under @dataclass(frozen=True, eq=False)"
        raise InputError(f"{where} as state {right}, not {_kind(state)}.")
    for name, value in _leaves(state):
        if not isinstance(value, Tensor) or value.shape[:2] != lanes or not _here(env, value):
            right = f"tensors [N, E, ...] = [{lanes[0]}, {lanes[1]}, ...] on {env.device}"
            raise InputError(f"{where} a state of {right}, and its field {name!r} is {_kind(value)}.")


def _leaves(struct: Struct) -> Iterator[tuple[str, Any]]:
    """All that a Struct holds, also in nested ones, by name."""
    for field in dataclasses.fields(struct):  # type: ignore[arg-type]
        value = getattr(struct, field.name)
        if isinstance(value, Struct):
            yield from _leaves(value)
        elif value is not None:
            yield field.name, value


def _check_obs(env: Env, where: str, obs: Any, lanes: tuple[int, int]) -> None:
    space = env.observation_space
    letters = "[N, E, H, W, C]" if is_image(space) else "[N, E, O]"
    _check(env, f"{where} obs", obs, letters, (*lanes, *space.shape), obs_dtype(space))


def _check(env: Env, must: str, x: Any, letters: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if not (isinstance(x, Tensor) and x.shape == shape and x.dtype == dtype and _here(env, x)):
        right = f"a tensor {_word(dtype)} {letters} = {list(shape)} on {env.device}"
        raise InputError(f"{must} as {right}, not {_kind(x)}.")


def _here(env: Env, x: Tensor) -> bool:
    return x.device.type == env.device.type and env.device.index in (None, x.device.index)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct) and dataclasses.is_dataclass(kind)


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(map(str, names)) or "nothing"


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _kind(x: Any) -> str:
    """A value in a few words: dtype, shape and device of a tensor or array, else the class."""
    if isinstance(x, Tensor):
        return f"{_word(x.dtype)} {list(x.shape)} on {x.device}"
    if isinstance(x, np.ndarray):
        return f"a numpy array {x.dtype} {list(x.shape)}"
    if isinstance(x, list | tuple):
        return f"a {type(x).__name__} of {len(x)}"
    if x is None or isinstance(x, bool | int | float):
        return repr(x)
    return f"the class {x.__name__}" if isinstance(x, type) else f"an object of class {type(x).__name__}"
