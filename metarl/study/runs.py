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
from metarl.algorithms.base import Stages
from metarl.evaluation.curve import stages_of
from metarl.training.config_file import first_difference, read
from metarl.training.presets import name_on


@dataclass(frozen=True, eq=False)
class EvaluatedRun:
    """What config.json and evaluation-SPLIT.json of a run folder say."""

    path: Path
    preset: str
    seed: int
    shards: int
    train: dict[str, Any]  # the training configuration without these two, which change random numbers alone
    env_config: dict[str, Any]
    evaluation: dict[str, Any]
    scores: np.ndarray  # [T tasks, K + 1 steps]

    @property
    def name(self) -> str:
        """METHOD-FAMILY of what was trained, whichever preset it started from."""
        return name_on(self.preset, self.train["env"])

    @property
    def iteration(self) -> int:
        """Meta-iterations before the evaluation."""
        return self.evaluation["iteration"]

    @property
    def last_step(self) -> int:
        """K."""
        return self.scores.shape[1] - 1

    @property
    def adaptation(self) -> Stages:
        """The stages that were evaluated."""
        return stages_of(self.evaluation)

    @property
    def num_episodes(self) -> int:
        """Of a trial; 1 where the stages are no trial."""
        return self.adaptation.episodes

    @property
    def stages(self) -> list[str]:
        """Their names [K + 1]."""
        return [name.removeprefix("after ") for name in self.adaptation.names]

    @property
    def episodes_before(self) -> list[int]:
        """How many episodes of experience on a task each stage comes after [K + 1]."""
        return self.adaptation.episodes_before(self.evaluation["num_envs"])


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
    config = read(path)
    file = path / f"evaluation-{split}.json"
    if not file.is_file():
        command = f"python scripts/evaluate.py {path}" + (f" --split {split}" if split != "test" else "")
        there = sorted(f.stem.removeprefix("evaluation-") for f in path.glob("evaluation-*.json"))
        other = f", or choose one that it holds by --split {' or '.join(there)}" if there else ""
        raise InputError(f"{path} holds no {file.name}: run `{command}` first{other}.")
    try:
        evaluation = json.loads(file.read_text())
        _check_evaluation(evaluation)
        train = {name: value for name, value in config["train"].items() if value is not None}  # older runs lack them
        env_config, preset = dict(config["env"]["config"]), config["preset"]
        seed = train.pop("seed")
        shards = train.pop("shards", 1)
        _check_types(train, {"env": str, "env_preset": str, "num_iterations": int})
        _check_types({"preset": preset, "seed": seed, "shards": shards}, {"preset": str, "seed": int, "shards": int})
        scores = np.array(evaluation["per_task"], float)
        return EvaluatedRun(path, preset, seed, shards, train, env_config, evaluation, scores)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = f"the field {error} is missing" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise InputError(f"{file} or the config.json beside it is damaged or of another version: {reason}.") from None


def _check_evaluation(e: dict[str, Any]) -> None:
    """Raise `KeyError`, `TypeError` or `ValueError` unless all that a comparison reads is there and of its shape."""
    counts = {"num_tasks": int, "num_envs": int, "seed": int, "iteration": int, "env_steps": int}
    _check_types(e, {"split": str, **counts, "train_seconds": (int, float)})
    adaptation, stages = e["adaptation"], len(e["adaptation"]["iqm"])
    _check_types(adaptation, {"unit": str})
    _check_shape(e, "per_task", (e["num_tasks"], stages))
    for key in ("iqm", "mean"):
        _check_shape(adaptation, key, (stages,))
        _check_shape(adaptation, {"iqm": "ci95", "mean": "mean_ci95"}[key], (stages, 2))
    episodes = 0
    if adaptation["unit"] == "episodes":
        _check_types(e, {"num_episodes": int})
        episodes = e["num_episodes"]
        if not 1 <= episodes <= stages:
            raise ValueError(f"num_episodes is {episodes}, with {stages} stages")
    for reference in e["references"].values():
        statistics = [reference, reference["trial"]] if episodes else [reference]
        for one in statistics:
            _check_shape(one, "mean", ())
            _check_shape(one, "ci95", (2,))
            if "iqm" in one:
                _check_shape(one, "iqm", ())
                _check_shape(one, "iqm_ci95", (2,))
        if episodes > 1:
            for key in ("curve", "curve_iqm") if "curve_iqm" in reference["trial"] else ("curve",):
                _check_shape(reference["trial"], key, (episodes,))
                _check_shape(reference["trial"], f"{key}_ci95", (episodes, 2))


def _check_types(values: dict[str, Any], types: dict[str, Any]) -> None:
    for name, wanted in types.items():
        if not isinstance(values[name], wanted):
            raise TypeError(f"{name} is {values[name]!r}")


def _check_shape(values: dict[str, Any], name: str, shape: tuple[int, ...]) -> None:
    array = np.array(values[name], dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        wanted = " x ".join(str(n) for n in shape) or "one"
        raise ValueError(f"{name} is not {wanted} finite number{'s' * (shape != ())}")


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
        _check_tasks(run, runs[0])
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


def _check_tasks(run: EvaluatedRun, other: EvaluatedRun) -> None:
    """Equal seeds draw other tasks on another device, and a file of tasks may have changed."""
    a, b = (r.evaluation.get("tasks") for r in (run, other))  # older evaluations lack it
    require(
        None in (a, b) or a == b, f"{run.path} cannot be compared with {other.path}: they were evaluated on other "
        "tasks, drawn on another device or from a file that changed; evaluate one of them again.",
    )  # fmt: skip


def _check_episodes(run: EvaluatedRun, runs: Sequence[EvaluatedRun]) -> None:
    """A step must learn from as many episodes as everybody else's step of the same kind."""
    other = next(r for r in runs if r.adaptation.trial == run.adaptation.trial)
    a, b = other.evaluation["num_envs"], run.evaluation["num_envs"]
    require(
        a == b, f"{run.path} cannot be compared with {other.path}: the evaluation has {a} episodes per task and step "
        f"there and {b} here; evaluate both with the same --num-envs.",
    )  # fmt: skip


def _names(groups: dict[str, list[EvaluatedRun]]) -> list[str]:
    """The name of each group's runs, with the fields in which groups of one preset differ.

    Where runs of two presets have one name, they are named by their presets.
    """
    firsts = [members[0] for members in groups.values()]
    presets: dict[str, set[str]] = {}
    for run in firsts:
        presets.setdefault(run.name, set()).add(run.preset)
    names = []
    for run in firsts:
        name = run.name if len(presets[run.name]) == 1 else run.preset
        rivals = [leaves(other.train) for other in firsts if other.preset == run.preset]
        own = leaves(run.train)
        differing = [key for key in own if any(rival.get(key) != own[key] for rival in rivals)]
        fields = [f"{key.rpartition('.')[2]} {own[key]}" for key in differing if not key.endswith(".kind")]
        names.append(", ".join([name, *fields[:3], *(["…"] if len(fields) > 3 else [])]))
    return [f"{name} #{names[: k + 1].count(name)}" if names.count(name) > 1 else name for k, name in enumerate(names)]


def leaves(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields by their dotted names."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        out |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out
