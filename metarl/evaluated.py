"""Run folders and their evaluations, read to be compared; runs that differ in the seed alone are a method."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import InputError, require
from metarl.run import first_difference, read_config


@dataclass(frozen=True, eq=False)
class EvaluatedRun:
    """What config.json and evaluation-SPLIT.json of a run folder say."""

    path: Path
    preset: str
    seed: int
    train: dict[str, Any]  # the training configuration without the seed
    env_config: dict[str, Any]
    evaluation: dict[str, Any]
    scores: np.ndarray  # [T tasks, K + 1 steps]

    @property
    def iteration(self) -> int:
        """Meta-iterations before the evaluation."""
        return self.evaluation["iteration"]

    @property
    def last_step(self) -> int:
        """K."""
        return self.scores.shape[1] - 1


@dataclass(frozen=True, eq=False)
class Method:
    """Runs that differ in the seed alone, in the order of their seeds."""

    name: str
    runs: tuple[EvaluatedRun, ...]

    @property
    def scores(self) -> np.ndarray:
        """[R runs, T tasks, K + 1 steps]."""
        return np.stack([run.scores for run in self.runs])


def read_run(path: Path, split: str = "test") -> EvaluatedRun:
    """A run and its evaluation. Raises `InputError` when the folder is no run, or is not evaluated on that split."""
    config = read_config(path)
    file = path / f"evaluation-{split}.json"
    if not file.is_file():
        command = f"python scripts/evaluate.py {path}" + (f" --split {split}" if split != "test" else "")
        there = sorted(f.stem.removeprefix("evaluation-") for f in path.glob("evaluation-*.json"))
        other = f", or choose one that it holds by --split {' or '.join(there)}" if there else ""
        raise InputError(f"{path} holds no {file.name}: run `{command}` first{other}.")
    try:
        evaluation = json.loads(file.read_text())
        scores = np.array(evaluation["per_task"], dtype=np.float64)
        adaptation = evaluation["adaptation"]
        wanted = (evaluation["num_tasks"], len(adaptation["iqm"]))
        if scores.shape != wanted or not np.isfinite(scores).all():
            raise ValueError(f"per_task is not a finite number for each of {wanted[0]} tasks and {wanted[1]} steps")
        _ = [adaptation[key] for key in ("unit", "ci95", "mean", "mean_ci95")]
        _ = [evaluation[key] for key in ("split", "seed", "num_envs", "iteration", "env_steps", "train_seconds")]
        train = {name: value for name, value in config["train"].items() if value is not None}  # older runs lack them
        seed = train.pop("seed")
        _ = evaluation["references"], train["env"], train["env_preset"], train["num_iterations"]
        return EvaluatedRun(path, config["preset"], seed, train, config["env"]["config"], evaluation, scores)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"the field {error} is missing" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise InputError(f"{file} or the config.json beside it is damaged or of another version: {reason}.") from None


def by_environment(runs: Sequence[EvaluatedRun]) -> list[list[EvaluatedRun]]:
    """The runs of each environment and preset of it, in the order in which the runs name them."""
    parts: dict[tuple[str, str], list[EvaluatedRun]] = {}
    for run in runs:
        parts.setdefault((run.train["env"], run.train["env_preset"]), []).append(run)
    return list(parts.values())


def group(runs: Sequence[EvaluatedRun]) -> list[Method]:
    """Methods in the order in which the runs name them.

    Raises:
        InputError: when two runs are on other environments or tasks, or two of a method have the same seed, or are
            evaluated after another number of meta-iterations or adaptation steps.
    """
    require(len(runs) > 0, "Name at least one run folder.")
    groups: dict[str, list[EvaluatedRun]] = {}
    for run in runs:
        for there, here in zip(_conditions(runs[0]), _conditions(run), strict=True):
            difference = first_difference(there, here)
            require(
                difference is None, f"{run.path} cannot be compared with {runs[0].path}: {difference}; compare runs "
                "on the same environment, evaluated on the same tasks.",
            )  # fmt: skip
        _check_episodes(run, runs)
        groups.setdefault(json.dumps([run.preset, run.train], sort_keys=True), []).append(run)
    for members in groups.values():
        members.sort(key=lambda run: run.seed)
        for first, second in itertools.pairwise(members):
            same = f"{first.path} and {second.path} are runs of {first.preset} with the same configuration"
            require(first.seed != second.seed, f"{same} and the same seed {first.seed}; name one of them.")
            for what, name in (("meta-iterations", "iteration"), ("adaptation steps", "last_step")):
                a, b = getattr(first, name), getattr(second, name)
                require(a == b, f"{same}, but were evaluated after {a} and {b} {what}; make them equal.")
    return [Method(name, tuple(members)) for name, members in zip(_names(groups), groups.values(), strict=True)]


def _conditions(run: EvaluatedRun) -> list[dict[str, Any]]:
    """What runs must share to be compared, the coarsest first."""
    e = run.evaluation
    tasks = {"number of evaluation tasks": e["num_tasks"], "seed of the evaluation tasks": e["seed"]}
    env = {"environment": run.train["env"]}, {"environment preset": run.train["env_preset"]}
    return [*env, run.env_config, {"split": e["split"]}, tasks]


def _check_episodes(run: EvaluatedRun, runs: Sequence[EvaluatedRun]) -> None:
    """A step must learn from as many episodes as everybody else's step of the same kind."""
    other = next(r for r in runs if r.evaluation["adaptation"]["unit"] == run.evaluation["adaptation"]["unit"])
    a, b = other.evaluation["num_envs"], run.evaluation["num_envs"]
    require(
        a == b, f"{run.path} cannot be compared with {other.path}: the evaluation has {a} episodes per task and step "
        f"there and {b} here; evaluate both with the same --num-envs.",
    )  # fmt: skip


def _names(groups: dict[str, list[EvaluatedRun]]) -> list[str]:
    """The preset of each group; where groups share one, with the fields in which these differ."""
    firsts = [members[0] for members in groups.values()]
    names = []
    for run in firsts:
        rivals = [_leaves(other.train) for other in firsts if other.preset == run.preset]
        own = _leaves(run.train)
        differing = [key for key in own if any(rival.get(key) != own[key] for rival in rivals)]
        fields = [f"{key.rpartition('.')[2]} {own[key]}" for key in differing if not key.endswith(".kind")]
        names.append(", ".join([run.preset, *fields[:3], *(["…"] if len(fields) > 3 else [])]))
    return [f"{name} #{names[: k + 1].count(name)}" if names.count(name) > 1 else name for k, name in enumerate(names)]


def _leaves(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields by their dotted names."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        out |= _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out
