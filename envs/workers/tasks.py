"""Where the tasks of a Gymnasium environment come from: spaces, a list, a function, or the environment itself.

Whatever it is, a task becomes a Struct of numbers, and numbers become again what `apply` takes.
"""

from __future__ import annotations

import dataclasses
import random
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from gymnasium import Env as GymnasiumEnv
from gymnasium import spaces
from torch import Generator, Tensor

from envs.core import equal_counts, uniform
from envs.errors import InputError, require
from envs.structs import Struct

Sample = Callable[[int, np.random.Generator], Sequence[Any]]
"""`(n, rng) -> n tasks`."""

SCHEMA_TASKS = 20
"""Tasks that are drawn to see what a function returns."""


@dataclasses.dataclass(frozen=True)
class Spaces:
    """A split whose tasks are uniform over a space for each field."""

    space: spaces.Dict

    def draw(self, n: int, generator: Generator) -> dict[str, Tensor]:
        return {name: uniform(space, n, generator) for name, space in self.space.items()}

    @property
    def words(self) -> str:
        if all(isinstance(space, spaces.Discrete) and space.n == 1 for space in self.space.values()):
            return "a single task"
        return "uniform over " + ", ".join(f"{name} in {space}" for name, space in self.space.items())


@dataclasses.dataclass(frozen=True)
class Listed:
    """A split of given tasks, each as often as any other."""

    rows: dict[str, np.ndarray]  # [K, ...] by field

    def draw(self, n: int, generator: Generator) -> dict[str, Tensor]:
        kinds = equal_counts(n, len(self), generator)
        return {name: torch.as_tensor(x, device=generator.device)[kinds] for name, x in self.rows.items()}

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))

    @property
    def words(self) -> str:
        return f"{len(self)} given tasks, each as often as any other"


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A split whose tasks a function draws."""

    sample: Sample
    space: spaces.Dict
    wrapped: bool

    def draw(self, n: int, generator: Generator) -> dict[str, Tensor]:
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        found = drawn(self.sample, n, seed)
        rows = columns(found, self.wrapped, self.space)
        return {name: torch.as_tensor(x, device=generator.device) for name, x in rows.items()}

    @property
    def words(self) -> str:
        return "drawn by sample_tasks"


@dataclasses.dataclass(frozen=True)
class Tasks:
    """The tasks of a family.

    Attributes:
        splits: where those of each split come from.
        space: a space for each field.
        objects: where tasks are not numbers: the objects that their field `index` counts.
        wrapped: is a task a plain number or array, which the field `task` holds?
    """

    splits: Mapping[str, Spaces | Listed | Drawn]
    space: spaces.Dict
    objects: tuple[Any, ...] | None = None
    wrapped: bool = False

    @property
    def type(self) -> type[Struct]:
        """The class of a task."""
        return dataclasses.make_dataclass(
            "Task", [(name, Tensor) for name in self.space], bases=(Struct,), frozen=True, eq=False
        )

    def given(self, row: Mapping[str, Any]) -> Any:
        """A task dict as `apply` takes it, or its index where tasks are objects."""
        if self.objects is not None:
            return row["index"]
        values = {
            name: row[name] if space.shape == () else np.asarray(row[name], space.dtype)
            for name, space in self.space.items()
        }
        return values["task"] if self.wrapped else values


def tasks_of(given: Any, sample: Sample | None) -> Tasks:
    """The tasks that `from_gymnasium` is given as `tasks` and `sample_tasks`. Raises `InputError`."""
    splits = given if isinstance(given, Mapping) and "train" in given else {"train": given}
    for name in splits:
        known = ("train", "validation", "test", "ood")
        require(name in known, f"tasks by split have the keys {', '.join(known)}, not {name!r}.")
    if sample is not None:
        require(list(splits) == ["train"], "Give either sample_tasks or tasks by split.")
        return _sampled(sample, None if given is None else _spaces(given))
    kinds = [_is_spaces(part) for part in splits.values()]
    if any(kinds):
        require(all(kinds), "The tasks of all splits are spaces, or those of all are lists.")
        parts: dict[str, Any] = {name: Spaces(_spaces(part)) for name, part in splits.items()}
        return Tasks(_filled(parts), _joined([part.space for part in parts.values()]))
    lists = {name: _list(name, part) for name, part in splits.items()}
    every = [task for part in lists.values() for task in part]
    wrapped = not isinstance(every[0], Mapping)
    try:
        space = _seen_space(every, wrapped)
    except InputError:
        if isinstance(every[0], Mapping):
            raise
        return _objects(lists)
    parts = {name: Listed(columns(part, wrapped, space)) for name, part in lists.items()}
    return Tasks(_filled(parts), space, wrapped=wrapped)


def _objects(lists: dict[str, list[Any]]) -> Tasks:
    """Tasks that are no numbers, such as those of Meta-World: what is drawn is their place in all lists together."""
    objects: list[Any] = []
    parts: dict[str, Any] = {}
    for name, part in lists.items():
        index = np.arange(len(objects), len(objects) + len(part), dtype=np.int64)
        parts[name] = Listed({"index": index})
        objects += part
    return Tasks(_filled(parts), spaces.Dict(index=spaces.Discrete(len(objects))), tuple(objects))


def _filled(parts: dict[str, Any]) -> dict[str, Any]:
    """`validation` and `test` are as `train` where nothing else is given."""
    return {"train": parts["train"], **{n: parts.get(n, parts["train"]) for n in ("validation", "test")}, **parts}


def _is_spaces(given: Any) -> bool:
    if isinstance(given, spaces.Dict):
        return True
    return isinstance(given, Mapping) and any(isinstance(value, spaces.Space) for value in given.values())


def _spaces(given: Any) -> spaces.Dict:
    """Spaces of fields, in which a Box of one number is that of a number."""
    require(_is_spaces(given), f"tasks must be spaces by name here, not {reprlib.repr(given)}.")
    found = {}
    for name, space in given.items():
        known = isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiBinary | spaces.MultiDiscrete)
        require(known, f"The space of the task field {name!r} must be a Box or of choices, not {space!r}.")
        if isinstance(space, spaces.Box):
            require(space.is_bounded(), f"The space of the task field {name!r} has no bounds to draw from: {space}.")
            whole = space.dtype.kind in "iu"
            shape, dtype = () if space.shape == (1,) else space.shape, np.int64 if whole else np.float32
            space = spaces.Box(space.low.reshape(shape), space.high.reshape(shape), shape, dtype)
        found[str(name)] = space
    require(all(name.isidentifier() for name in found), f"Task fields need names such as gravity, not {list(found)}.")
    return spaces.Dict(found)


def _joined(of: list[spaces.Dict]) -> spaces.Dict:
    """The smallest spaces that hold those of all splits."""
    first = of[0]
    require(all(set(other) == set(first) for other in of), "The tasks of all splits must have the same fields.")
    joined: dict[str, spaces.Space] = {}
    for name, space in first.items():
        others: list[Any] = [other[name] for other in of]
        if isinstance(space, spaces.Box):
            shapes = {other.shape for other in others}
            require(len(shapes) == 1, f"The task field {name!r} must have one shape in all splits.")
            low, high = np.min([o.low for o in others], 0), np.max([o.high for o in others], 0)
            space = spaces.Box(low, high, space.shape, space.dtype)  # type: ignore[arg-type]
        else:
            require(all(o == space for o in others), f"The task field {name!r} must have one space in all splits.")
        joined[name] = space
    return spaces.Dict(joined)


def _list(split: str, given: Any) -> list[Any]:
    """A list of tasks, or contexts by id as CARL writes them."""
    contexts = isinstance(given, Mapping) and all(isinstance(value, Mapping) for value in given.values())
    found = list(given.values()) if contexts else given
    right = isinstance(found, list | tuple) and len(found) > 0
    require(right, f"tasks must be spaces by name, or a list of at least one task, not {reprlib.repr(found)}.")
    return list(found)


def _seen_space(rows: Sequence[Any], wrapped: bool) -> spaces.Dict:
    """Spaces as wide as their dtype for what tasks hold."""
    stacked = columns(rows, wrapped)
    found: dict[str, spaces.Space] = {}
    for name, column in stacked.items():
        whole = column.dtype.kind == "i"
        info: Any = np.iinfo(np.int64) if whole else np.finfo(np.float32)
        found[name] = spaces.Box(info.min, info.max, column.shape[1:], column.dtype.type)
    return spaces.Dict(found)


def columns(rows: Sequence[Any], wrapped: bool, space: spaces.Dict | None = None) -> dict[str, np.ndarray]:
    """Tasks as an array for each field [K, ...], float32 or int64. Raises `InputError` unless they are numbers."""
    dicts = [{"task": row} if wrapped else row for row in rows]
    names = list(dicts[0]) if space is None else list(space)
    out = {}
    for row in dicts:
        fits = isinstance(row, Mapping) and set(row) == set(names)
        require(fits, f"A task must be a dict with the fields {', '.join(map(str, names))}, not {reprlib.repr(row)}.")
    for name in names:
        try:
            column = np.array([row[name] for row in dicts])
        except ValueError:  # of several shapes
            column = np.empty(0, object)
        numbers = column.dtype.kind in "fiub"
        require(numbers, f"The task field {name!r} must hold numbers of one shape, as in {reprlib.repr(rows[0])}.")
        out[str(name)] = column.astype(np.float32 if column.dtype.kind == "f" else np.int64)
        if space is not None:
            dtype: Any = space[name].dtype
            out[str(name)] = out[str(name)].astype(dtype)
            for value in out[str(name)]:
                held = space[name].contains(np.asarray(value))
                require(held, f"The task field {name!r} must lie in {space[name]}, and {value} does not.")
    return out


def _sampled(sample: Sample, space: spaces.Dict | None) -> Tasks:
    """The tasks that a function draws, of which some are drawn to see what they are."""
    some = drawn(sample, SCHEMA_TASKS, 0)
    wrapped = not isinstance(some[0], Mapping)
    found = space or _seen_space(some, wrapped)
    part = Drawn(sample, found, wrapped)
    return Tasks(_filled({"train": part}), found, wrapped=wrapped)


def drawn(sample: Sample, n: int, seed: int) -> list[Any]:
    """`n` tasks from a function, with all random streams of Python and numpy from `seed`. Raises `InputError`."""
    with global_seed(seed):
        try:
            found = list(sample(n, np.random.default_rng(seed)))
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"sample_tasks({n}) raised {type(error).__name__}: {error}.") from error
    require(len(found) == n, f"sample_tasks({n}) must return {n} tasks, not {len(found)}.")
    return found


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Within this context Python's and numpy's global streams start from `seed`; afterwards they go on."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002


def own_tasks(env: GymnasiumEnv) -> Sample | None:
    """The `sample_tasks(n)` of an environment, as pytorch-maml-rl, learn2learn and RLlib write it; None without one."""
    if not env.has_wrapper_attr("sample_tasks"):
        return None
    own = env.get_wrapper_attr("sample_tasks")

    def sample(n: int, rng: np.random.Generator) -> Sequence[Any]:
        env.unwrapped.np_random = rng
        return own(n)

    return sample


def sets_tasks(env: GymnasiumEnv) -> bool:
    return env.has_wrapper_attr("set_task") or env.has_wrapper_attr("reset_task")
