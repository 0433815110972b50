"""Tasks as files, which fix an evaluation set; tasks and their parameters in words.

save_tasks("tasks.json", "point", "finn2017", env, task, split="test", seed=0)
task = load_tasks("tasks.json", env)
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.contract import task_dicts
from envs.core import Env
from envs.errors import InputError, require, unknown
from envs.files import write_atomically
from envs.registry import FAMILIES
from envs.structs import Struct

FORMAT = "metarl-tasks-1"
SHOWN = 10  # a longer vector is described by its shape and range
LINE = 150  # and in a longer line every vector is
UNITS = ("m", "m/s", "rad")  # shown with a number; other explanations are longer than the number


def save_tasks(
    path: str | Path,
    env_id: str,
    preset: str | None,
    env: Env,
    task: Struct,
    split: str | None = None,
    seed: int | None = None,
) -> Path:
    """Write tasks as JSON, one per line. The write is atomic, and the folder is created.

    Args:
        path: ends in .json.
        env_id: id of the family, such as `"point"`.
        preset: the preset that `env` was made from, if any; for the reader, as are `split` and `seed`.
        env: the environment of the tasks; its configuration is written too.
        task: N tasks.
        split: the split that they were drawn from.
        seed: the seed of the generator that drew them.

    Returns:
        The path.

    Raises:
        InputError: for another suffix, a folder of that name, or an unknown family, preset or split.
        OSError: when the file cannot be written.
    """
    path = Path(path)
    require(path.suffix == ".json", f"The name of a file of tasks must end in .json, and {str(path)!r} does not.")
    require(not path.is_dir(), f"The tasks cannot be written to {str(path)!r}, which is a folder.")
    _check_family(env_id, env, "The tasks cannot be saved")
    presets = FAMILIES[env_id].presets
    if preset is not None and preset not in presets:
        raise unknown(f"preset of {env_id!r}", preset, presets)
    if split is not None:
        env.check_split(split)
    head = {
        "format": FORMAT,
        "family": env_id,
        "preset": preset,
        "config": dataclasses.asdict(env.config),
        "split": split,
        "seed": seed,
    }
    rows = ",\n    ".join(json.dumps(row, allow_nan=False) for row in task_dicts(env, task))
    text = json.dumps(head, indent=2, default=str).removesuffix("\n}") + f',\n  "tasks": [\n    {rows}\n  ]\n}}\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))
    return path


def load_tasks(path: str | Path, env: Env) -> Struct:
    """The tasks of a file that `save_tasks` wrote, or of a JSON list of tasks, on the device of `env`.

    `env` may differ from the one that saved them in parameters that its tasks do not depend on, such as the horizon.

    Raises:
        InputError: when there is no such file, it is not one of tasks, they belong to another family, or one of them
            does not fit `env.task_space`.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The tasks cannot be read from {str(path)!r}: {error.strerror or error}.") from None
    except (ValueError, RecursionError):
        raise InputError(f"The file {str(path)!r} is not valid JSON.") from None
    rows = content
    if not isinstance(content, list):
        ours = isinstance(content, dict) and content.get("format") == FORMAT and isinstance(content.get("tasks"), list)
        require(ours, f"The file {str(path)!r} is not a list of tasks, or a file of tasks such as save_tasks writes.")
        _check_family(content.get("family"), env, f"The file {str(path)!r} does not fit")
        rows = content["tasks"]
    try:
        return env.task_from_dicts(rows)
    except InputError as error:
        for number, row in enumerate(rows, 1):  # which one?
            try:
                env.task_from_dicts([row])
            except InputError as reason:
                raise InputError(f"Task {number} of {str(path)!r} does not fit: {reason}") from None
        raise InputError(f"The tasks of {str(path)!r} do not fit: {error}") from None


def _check_family(name: Any, env: Env, problem: str) -> None:
    """Raise `InputError` unless `env` is of the family `name`, as far as its configuration tells."""

    def configs(family: str) -> set[type]:
        return {type(config) for config in FAMILIES[family].presets.values()}

    own = [repr(family) for family in FAMILIES if type(env.config) in configs(family)]
    fits = isinstance(name, str) and repr(name) in own
    require(fits, f"{problem}: its family is {name!r}, and that of the environment {' or '.join(own) or 'unknown'}.")


def describe_task(env: Env, task: Mapping[str, Any]) -> str:
    """A task dict in one line: numbers and short vectors with their unit, larger fields by shape and range.

    Args:
        env: the environment of the task; it knows the order of the fields, and which are whole numbers.
        task: plain dict, such as `env.task_to_dicts` gives.
    """
    said = meanings(env.task_type)
    units = {name: f" {said[name].split(',')[0]}" for name in said if said[name].split(",")[0] in UNITS}

    def line(shown: int) -> str:
        return ", ".join(
            f"{name.replace('_', ' ')} {_describe(space, task[name], shown)}{units.get(name, '')}"
            for name, space in env.task_space.items()
        )

    whole = line(SHOWN)
    return whole if len(whole) <= LINE else line(0)


def _describe(space: spaces.Space, x: Any, shown: int) -> str:
    array = np.asarray(x, dtype=space.dtype)
    digits = 2 if array.dtype.kind == "f" else 0
    numbers = [f"{value:.{digits}f}".replace("-", "−") for value in array.flatten().tolist()]
    if array.ndim == 0:
        return numbers[0]
    if array.ndim == 1 and array.size <= shown:
        return f"({', '.join(numbers)})"
    shape = "[" + " × ".join(map(str, array.shape)) + "]"
    if isinstance(space, spaces.MultiBinary):
        return f"{shape} with {array.sum()} of {array.size} set"
    low, high = (numbers[int(i)] for i in (array.argmin(), array.argmax()))
    return f"{shape} from {low} to {high}"


def describe_parameters(env: Env) -> dict[str, str]:
    """Shape, range and unit of each task parameter, such as `{"goal": "[2] -2 to 2; m"}`."""
    said = meanings(env.task_type)
    return {name: "; ".join(filter(None, (_extent(x), said.get(name)))) for name, x in env.task_space.items()}


def _extent(space: spaces.Space) -> str:
    shape = f"[{' × '.join(map(str, space.shape))}] " if space.shape else ""
    if isinstance(space, spaces.Box):
        return f"{shape}{space.low.min():g} to {space.high.max():g}"
    if isinstance(space, spaces.Discrete):
        return f"{space.start} to {space.start + space.n - 1}"
    if isinstance(space, spaces.MultiDiscrete):
        return f"{shape}0 to {(space.nvec - 1).tolist()}"
    return f"{shape}0 or 1" if isinstance(space, spaces.MultiBinary) else str(space)


def meanings(of: type) -> dict[str, str]:
    """What the source says about the fields of a dataclass; empty where there is no source.

    That is the string below a field or else the comment behind it, without the shape at its start: the `m` of
    `goal: Tensor  # [N, 2] m`.
    """
    found: dict[str, str] = {}
    for base in reversed(of.__mro__[:-1]):
        found.update(_own_meanings(base))
    return found


@functools.cache  # whoever describes many tasks asks again for each
def _own_meanings(of: type) -> dict[str, str]:
    """`meanings` of the fields that a class adds to its bases."""
    try:
        source = textwrap.dedent(inspect.getsource(of))
    except (OSError, TypeError):
        return {}
    found = dict(re.findall(r"^ +(\w+): .*?# *(?:\[[^]]*\])? *(.*)$", source, re.MULTILINE))
    for field, text in itertools.pairwise(ast.parse(source).body[0].body):  # type: ignore[attr-defined]
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return found
