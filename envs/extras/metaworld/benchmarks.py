"""Meta-World (Yu et al. 2019, arXiv:1910.10897; metaworld 3.1.1, McLean et al. 2025): its meta-learning benchmarks.

ML1 holds out goals of one task, ML10, ML25 and ML45 hold out tasks; what the policy must find out is the goal, and in
the others also which of the tasks it has before it.
"""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from envs.errors import InputError, require, unknown
from envs.extras.metaworld.sawyer import load, maker, success
from envs.fields import NonNegativeInt
from envs.workers.family import GymnasiumConfig, GymnasiumEnv, GymnasiumFamily, from_gymnasium

HORIZON, GOALS = 500, 50
BENCHMARKS = {"ml1": "ML1", "ml10": "ML10", "ml25": "ML25", "ml45": "ML45", "custom": "CustomML"}
"""Families, with the package's names for them."""


@dataclass(frozen=True)
class Config(GymnasiumConfig):
    """Parameters of ML10, ML25 and ML45."""

    horizon: int = HORIZON
    """Steps in an episode, at most 500."""
    goals_seed: NonNegativeInt = 0
    """Seed with which Meta-World draws its 50 goals of each task."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.horizon <= HORIZON, f"horizon must be at least 1 and at most {HORIZON}, not {self.horizon}.")


@dataclass(frozen=True)
class ML1Config(Config):
    """Parameters of ML1."""

    task: str = "reach-v3"
    """Any of Meta-World's tasks, such as push-v3 or pick-place-v3."""


@dataclass(frozen=True)
class CustomConfig(Config):
    """Parameters of a set of one's own."""

    train: tuple[str, ...] = ("reach-v3", "push-v3")
    """Tasks to train on."""
    test: tuple[str, ...] = ("door-close-v3",)
    """Tasks of the split `test`."""


CONFIGS = {"ml1": ML1Config, "custom": CustomConfig}


class MetaWorld:
    """What `envs.register` takes for one of `BENCHMARKS`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.presets = {"default": CONFIGS.get(name, Config)()}

    def __call__(self, config: Any, device: torch.device) -> GymnasiumEnv:
        """Raises `InputError` for an unknown task, or versions of metaworld and MuJoCo that nobody has tried."""
        kinds, family = family_of(self.name, dataclasses.replace(config, workers=0, horizon=HORIZON))
        env = family(config, device)
        trained, tested = (" or ".join(part) for part in kinds)
        env.splits = {
            "train": f"{GOALS} goals of each task, {trained}",
            "validation": f"{GOALS} other goals of each of them",
            "test": f"{GOALS} goals of each task, {tested}",
        }
        return env


def names() -> list[str]:
    return list(BENCHMARKS)


def family(name: str) -> MetaWorld:
    """A family by one of `names()`."""
    return MetaWorld(name)


@cache
def family_of(name: str, config: Any) -> tuple[tuple[list[str], list[str]], GymnasiumFamily]:
    """Names of the tasks that are trained and tested on, and the family of Gymnasium environments."""
    with still():
        goals, others = (benchmark(name, config, config.goals_seed + more) for more in (0, 2))  # ML1 tests on + 1
    kinds = list(goals.train_classes), list(goals.test_classes)
    every = list(dict.fromkeys([*kinds[0], *kinds[1]]))
    parts = {"train": goals.train_tasks, "validation": others.train_tasks, "test": goals.test_tasks}
    found = from_gymnasium(maker(every), rows(parts, every), horizon=HORIZON, scores={"success": success})
    return kinds, found


def benchmark(name: str, config: Any, seed: int) -> Any:
    """Meta-World's own object, with its classes and its tasks, goals drawn with a seed. Raises `InputError`."""
    try:
        package = load()
    except ImportError as error:
        raise InputError(str(error)) from None
    make = getattr(package, BENCHMARKS[name])
    if isinstance(config, ML1Config):
        check_task(package, config.task)
        return make(config.task, seed=seed)
    if not isinstance(config, CustomConfig):
        return make(seed=seed)
    for task in (*config.train, *config.test):
        check_task(package, task)
    twice = set(config.train) & set(config.test)
    require(bool(config.train and config.test), "train and test must each name at least one task of Meta-World.")
    require(not twice, f"test must hold other tasks than train, and both hold {', '.join(sorted(twice))}.")
    return make(list(config.train), list(config.test), seed=seed)


def check_task(package: Any, task: str) -> None:
    if task not in package.ML1.ENV_NAMES:
        raise unknown("task of Meta-World", task, package.ML1.ENV_NAMES)


@contextmanager
def still() -> Iterator[None]:
    """Within this context arms do not move. The hand goes to its start at each draw of a goal, which depends on nothing
    of it and takes nine tenths of the time: 70 s of those of ML45."""
    import mujoco
    from metaworld.sawyer_xyz_env import SawyerMocapBase

    def forward(self: Any, ctrl: Any, n_frames: int) -> None:
        mujoco.mj_forward(self.model, self.data)

    SawyerMocapBase.do_simulation = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        del SawyerMocapBase.do_simulation


def rows(parts: dict[str, list[Any]], kinds: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Meta-World's tasks by split, as those of `Sawyer`."""
    drawn = {split: [pickle.loads(task.data)["rand_vec"] for task in part] for split, part in parts.items()}
    width = max(len(rand_vec) for part in drawn.values() for rand_vec in part)

    def row(task: Any, rand_vec: np.ndarray) -> dict[str, Any]:
        kind = {"kind": kinds.index(task.env_name)} if len(kinds) > 1 else {}
        return {**kind, "rand_vec": np.pad(rand_vec, (0, width - len(rand_vec)))}

    return {split: [row(*pair) for pair in zip(part, drawn[split], strict=True)] for split, part in parts.items()}
