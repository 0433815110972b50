"""The policies that the page offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import envs
from envs.contract import draw_tasks, task_dicts
from envs.errors import InputError, require
from envs.tasks import meanings
from metarl.agent.load import Agent, load
from metarl.agent.pretrained import FOLDER
from metarl.figures.appearance import label
from metarl.training import config_file
from metarl.training.config import to_dict

RUNS = Path("runs")
TYPICAL = 256
"""Tasks that are drawn to learn in which range they lie."""


@dataclass(frozen=True, eq=False)
class Offer:
    """A trained policy that is on the page: a run folder, of one's own or one that comes with the package."""

    id: str
    path: Path
    method: str
    """As figures call it."""
    family: str
    family_preset: str

    @cached_property
    def agent(self) -> Agent:
        """The policy, which acts."""
        return load(self.path)

    @cached_property
    def twin(self) -> Agent:
        """The same once more, for another thread: a physics engine and a memory keep buffers."""
        return load(self.path)

    def summary(self) -> dict[str, Any]:
        """For the list of policies."""
        return {
            "id": self.id,
            "method": self.method,
            "family": self.family,
            "preset": self.family_preset,
            "shipped": self.path.parent == FOLDER,
        }

    def draw(self, split: str, seed: int) -> dict[str, Any]:
        """A task of the family. Raises `InputError` for an unknown split."""
        env = self.agent.run.env
        return task_dicts(env, draw_tasks(env, 1, envs.task_generator(seed, split, env.device), split))[0]

    @cached_property
    def details(self) -> dict[str, Any]:
        """What the page must know to set a task and to draw it."""
        run, stages = self.agent.run, self.agent.run.algorithm.stages()
        env = run.env
        said = meanings(env.task_type)
        drawn = draw_tasks(env, TYPICAL, envs.task_generator(0, "play", env.device))
        rows = task_dicts(env, drawn)
        fields = []
        for name, space in env.task_space.items():
            values = np.array([row[name] for row in rows], dtype=float)
            low, high = (getattr(space, side, None) for side in ("low", "high"))
            fields.append(
                {
                    "name": name,
                    "meaning": said.get(name, ""),
                    "shape": list(space.shape or ()),
                    "whole": np.dtype(space.dtype).kind != "f",
                    "low": None if low is None else float(np.min(low)),
                    "high": None if high is None else float(np.max(high)),
                    "typical": [float(values.min()), float(values.max())],
                }
            )
        return {
            **self.summary(),
            "config": to_dict(run.env_config),
            "horizon": env.horizon,
            "fields": fields,
            "splits": dict(env.splits),
            "stages": stages.names,
            "trial": stages.trial,
            "by_step": stages.trial and len(stages) == 1,
            "lanes": 1 if stages.trial else run.config.num_envs,
        }


def find(paths: Sequence[Path]) -> dict[str, Offer]:
    """The policies in run folders, or in folders of run folders, by the names that the page uses.

    Args:
        paths: a path that does not exist may be the name of a policy that comes with the package. By default all of
            those, after the runs in `runs`.

    Raises:
        InputError: for a path that is neither, and where there is no trained policy at all.
    """
    offers: dict[str, Offer] = {}
    for path in paths or [*([RUNS] if RUNS.is_dir() else []), FOLDER]:
        folder = path if path.exists() or not (FOLDER / path).is_dir() else FOLDER / path
        inside = sorted(p.parent for p in folder.glob("*/config.json")) if folder.is_dir() else []
        alone = (folder / "config.json").is_file() or not inside
        for run in [folder] if alone and paths else inside:
            try:
                offer = _offer(run)
            except InputError:
                if alone:
                    raise
                continue  # others in a folder of runs may be whole
            name = _free(offer.id, offers)
            offers[name] = replace(offer, id=name)
    places = ", ".join(map(str, paths))
    require(len(offers) > 0, f"There is no trained policy in {places}; metarl train maml-point makes one.")
    return offers


def _offer(folder: Path) -> Offer:
    """Raises `InputError` where the folder is no run or has no checkpoint."""
    preset, config, _ = config_file.read_run(folder)
    require(
        (folder / "checkpoint.pt").is_file(),
        f"{folder} holds no checkpoint.pt: it was stopped before its first iteration.",
    )
    return Offer(folder.resolve().name, folder, label(preset), config.env, config.env_preset)


def _free(name: str, taken: dict[str, Offer]) -> str:
    """This name, or with a number where it is taken."""
    names = [name, *(f"{name} ({k})" for k in range(2, len(taken) + 3))]
    return next(n for n in names if n not in taken)
