"""Run folders and their evaluations, read to be compared; runs that differ in the seed alone are a method."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import InputError, require
from metarl.algorithms.base import Stages
from metarl.evaluation.curve import stages_of
from metarl.evaluation.estimate import Estimate, estimate
from metarl.figures.appearance import method_of
from metarl.training import commands
from metarl.training.config_file import first_difference, read
from metarl.training.presets import name_on


@dataclass(frozen=True, eq=False)
class Reference:
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
    references: dict[str, Reference]
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


@dataclass(frozen=True, eq=False)
class Method:
    """Runs that differ in the seed alone, in the order of their seeds.

    Attributes:
        name: METHOD-FAMILY, and the fields in which methods of one preset differ.
        short: the same without the family, which names it on every environment.
    """

    name: str
    short: str
    runs: tuple[EvaluatedRun, ...]

    @property
    def run(self) -> EvaluatedRun:
        """The first: what all have in common can be read there."""
        return self.runs[0]

    @cached_property
    def scores(self) -> np.ndarray:
        """[R runs, T tasks, K stages]."""
        return np.stack([run.scores for run in self.runs])

    @property
    def env_steps(self) -> int:
        """Of training."""
        return self.run.evaluation["env_steps"]

    @property
    def train_seconds(self) -> float:
        """The median over runs."""
        return statistics.median(run.evaluation["train_seconds"] for run in self.runs)

    @cached_property
    def adaptation(self) -> Estimate:
        """Over all runs and tasks [K]; of a single run that of its evaluation, where the bootstrap draws tasks."""
        return estimate(self.scores) if len(self.runs) > 1 else self.run.adaptation

    def trial_returns(self, num_episodes: int) -> np.ndarray | None:
        """The return of a trial [R, T]: of the first episodes on a task, all counted, exploration too.

        Gradient methods have one where they adapt after every single episode, so that their stages are those episodes;
        otherwise None.
        """
        stages = self.run.stages
        count = stages.num_episodes if stages.trial else len(stages)
        if self.run.episodes_before[:count][:num_episodes] != list(range(num_episodes)):
            return None
        return self.scores[..., :num_episodes].sum(-1)


def read_run(path: Path, split: str = "test") -> EvaluatedRun:
    """A run and its evaluation. Raises `InputError` when the folder is no run, or is not evaluated on that split."""
    config = read(path)
    file = path / f"evaluation-{split}.json"
    command = f"python scripts/evaluate.py {path}" + (f" --split {split}" if split != "test" else "")
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
        env_config = dict(config["env"]["config"])
        made = [*commands.read(path), e.get("command", f"# {path} was evaluated without a command.")]
        return EvaluatedRun(
            path, preset, seed, train, env_config, e, stages, adaptation, references, scores, made
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = f"the field {error} is missing" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise InputError(f"{file} or the config.json beside it is damaged or of another version: {reason}.") from None


def _reference(entry: dict[str, Any], stages: Stages) -> Reference:
    episode = Estimate.from_json(entry)
    if not stages.trial:
        return Reference(episode)
    trial, length = entry["trial"], stages.num_episodes
    if length == 1:
        return Reference(episode)
    return Reference(episode, {length: Estimate.from_json(trial)}, Estimate.from_json(trial["curve"], length))


def _check_types(values: dict[str, Any], types: dict[str, Any]) -> None:
    for name, wanted in types.items():
        if not isinstance(values[name], wanted):
            raise TypeError(f"{name} is {values[name]!r}")


def group(runs: Sequence[EvaluatedRun]) -> list[Method]:
    """Methods in the order in which the runs name them.

    Raises:
        InputError: when two runs are on other environments or tasks, or two of a method have the same seed, or are
            evaluated after another number of meta-iterations or adaptation steps.
    """
    groups: dict[str, list[EvaluatedRun]] = {}
    for run in runs:
        _check_comparable(run, runs)
        groups.setdefault(json.dumps([run.preset, run.train], sort_keys=True), []).append(run)
    for members in groups.values():
        members.sort(key=lambda run: run.seed)
        for first, second in itertools.pairwise(members):
            same = f"{first.path} and {second.path} are runs of {first.preset} with the same configuration"
            require(first.seed != second.seed, f"{same} and the same seed {first.seed}; name one of them.")
            for what, a, b in (
                ("meta-iterations", first.evaluation["iteration"], second.evaluation["iteration"]),
                ("adaptation steps", len(first.stages) - 1, len(second.stages) - 1),
            ):
                require(a == b, f"{same}, but were evaluated after {a} and {b} {what}; make them equal.")
    presets = {members[0].preset for members in groups.values()}
    kinds = [method_of(preset) for preset in presets]
    methods = []
    for name, members in zip(_names(groups), groups.values(), strict=True):
        own = members[0].name
        other_family = kinds.count(method_of(members[0].preset)) > 1  # a preset of another one, trained here
        short = name if other_family else name.replace(own, method_of(own), 1)
        methods.append(Method(name, short, tuple(members)))
    return methods


def _check_comparable(run: EvaluatedRun, runs: Sequence[EvaluatedRun]) -> None:
    """Raise `InputError` unless the run shares environment, tasks and episodes with the others."""
    other = runs[0]
    cannot = f"{run.path} cannot be compared with {other.path}"
    for there, here in zip(_conditions(other), _conditions(run), strict=True):
        difference = first_difference(there, here)
        same = "compare runs on the same environment, evaluated on the same tasks"
        require(difference is None, f"{cannot}: {difference}; {same}.")
    a, b = (r.evaluation.get("tasks") for r in (run, other))  # equal seeds draw other tasks on another device
    require(
        None in (a, b) or a == b,  # older evaluations lack it
        f"{cannot}: they were evaluated on other tasks, drawn on another device or from a file that changed; evaluate "
        "one of them again.",
    )
    like = next(r for r in runs if r.stages.trial == run.stages.trial)
    a, b = like.evaluation["num_envs"], run.evaluation["num_envs"]
    require(
        a == b,  # a step must learn from as many episodes as everybody else's step of the same kind
        f"{run.path} cannot be compared with {like.path}: the evaluation has {a} episodes per task and step there and "
        f"{b} here; evaluate both with the same --num-envs.",
    )


def _conditions(run: EvaluatedRun) -> list[dict[str, Any]]:
    """What runs must share to be compared, the coarsest first."""
    e = run.evaluation
    tasks = {"number of evaluation tasks": e["num_tasks"], "seed of the evaluation tasks": e["seed"]}
    env = {"environment": run.train["env"]}, {"environment preset": run.train["env_preset"]}
    return [*env, run.env_config, {"split": e["split"]}, tasks]


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
