"""Run folders and their evaluations, read to be compared."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import InputError, require
from metarl.algorithms.base import Stages
from metarl.evaluation.curve import stages_of
from metarl.evaluation.estimate import Estimate
from metarl.training import commands
from metarl.training.config_file import read
from metarl.training.presets import name_on


@dataclass(frozen=True, eq=False)
class ReferenceReturns:
    """What a reference policy earns on the tasks.

    Attributes:
        episode: the return of an episode.
        trials: the sum over a trial of several episodes, by their number.
        curve: the return of each episode of the longest trial.
    """

    episode: Estimate
    trials: dict[int, Estimate] = field(default_factory=dict)
    curve: Estimate | None = None

    @property
    def adaptation(self) -> Estimate:
        """In the stages in which it learns: the episodes of a trial, and nothing else."""
        return self.episode.as_stage() if self.curve is None else self.curve


@dataclass(frozen=True, eq=False)
class EvaluatedRun:
    """What config.json and evaluation-SPLIT.json of a run folder say."""

    path: Path
    preset: str
    seed: int
    train: dict[str, Any]  # the training configuration without the seed and shards, which change random numbers alone
    env_config: dict[str, Any]
    evaluation: dict[str, Any]
    stages: Stages  # K
    adaptation: Estimate  # [K]
    references: dict[str, ReferenceReturns]
    scores: np.ndarray  # [T tasks, K]
    commands: list[str]  # that made the run and its evaluation; a comment where that is not known

    @property
    def env(self) -> str:
        return f"{self.train['env']}/{self.train['env_preset']}"

    @property
    def name(self) -> str:
        """METHOD-FAMILY of what was trained, whichever preset it started from."""
        return name_on(self.preset, self.train["env"])

    @property
    def stage_names(self) -> list[str]:
        return [name.removeprefix("after ") for name in self.stages.names]

    @property
    def episodes_before(self) -> list[int]:
        """How many episodes of experience on a task each stage comes after [K]."""
        return self.stages.episodes_before(self.evaluation["num_envs"])


def read_run(path: Path, split: str = "test") -> EvaluatedRun:
    """A run and its evaluation. Raises `InputError` when the folder is no run, or is not evaluated on that split."""
    config = read(path)
    file = path / f"evaluation-{split}.json"
    command = f"metarl evaluate {path}" + (f" --split {split}" if split != "test" else "")
    if not file.is_file():
        there = sorted(f.stem.removeprefix("evaluation-") for f in path.glob("evaluation-*.json"))
        other = f", or choose one that it holds by --split {' or '.join(there)}" if there else ""
        raise InputError(f"{path} holds no {file.name}: run `{command}` first{other}.")
    try:
        e = json.loads(file.read_text())
        old = "stages" not in e and "unit" in e["adaptation"]
        require(not old, f"{file} was written by an earlier version; evaluate again by `{command}`.")
        train = {name: value for name, value in config["train"].items() if value is not None}  # older runs lack them
        preset, seed = config["preset"], train.pop("seed")
        train.pop("shards", None)
        _check_types(train, {"env": str, "env_preset": str, "num_iterations": int})
        _check_types({"preset": preset, "seed": seed}, {"preset": str, "seed": int})
        counts = {"num_tasks": int, "num_envs": int, "seed": int, "iteration": int, "env_steps": int}
        _check_types(e, {"split": str, **counts, "train_seconds": (int, float)})
        _check_types(e["stages"], {"num_steps": int, "num_episodes": int})
        stages = stages_of(e)
        scores = np.array(e["per_task"], float)
        if scores.shape != (e["num_tasks"], len(stages)) or not np.isfinite(scores).all():
            raise ValueError(f"per_task is not {e['num_tasks']} x {len(stages)} finite numbers")
        adaptation = Estimate.from_json(e["adaptation"], len(stages))
        references = {name: _reference(entry, stages) for name, entry in e["references"].items()}
        env_config = {**config["env"]["config"], **e.get("env_options", {})}
        made = [*commands.read(path), e.get("command", f"# {path} was evaluated without a command.")]
        return EvaluatedRun(path, preset, seed, train, env_config, e, stages, adaptation, references, scores, made)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = f"the field {error} is missing" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise InputError(f"{file} or the config.json beside it is damaged or of another version: {reason}.") from None


def _reference(entry: dict[str, Any], stages: Stages) -> ReferenceReturns:
    episode = Estimate.from_json(entry)
    if not stages.trial:
        return ReferenceReturns(episode)
    trial, length = entry["trial"], stages.num_episodes
    if length == 1:
        return ReferenceReturns(episode)
    return ReferenceReturns(episode, {length: Estimate.from_json(trial)}, Estimate.from_json(trial["curve"], length))


def _check_types(values: dict[str, Any], types: dict[str, Any]) -> None:
    for name, wanted in types.items():
        if not isinstance(values[name], wanted):
            raise TypeError(f"{name} is {values[name]!r}")
