"""Methods: runs that differ in the seed alone."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from envs.errors import require
from metarl.evaluation.estimate import Estimate, estimate
from metarl.figures.appearance import method_of
from metarl.study.runs import EvaluatedRun
from metarl.training.config import flat
from metarl.training.config_file import first_difference


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
        rivals = [flat(other.train) for other in firsts if other.preset == run.preset]
        own = flat(run.train)
        differing = [key for key in own if any(rival.get(key) != own[key] for rival in rivals)]
        fields = [f"{key.rpartition('.')[2]} {own[key]}" for key in differing if not key.endswith(".kind")]
        names.append(", ".join([name, *fields[:3], *(["…"] if len(fields) > 3 else [])]))
    return [f"{name} #{names[: k + 1].count(name)}" if names.count(name) > 1 else name for k, name in enumerate(names)]
