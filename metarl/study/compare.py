"""Comparison: methods side by side on one environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from metarl.evaluation.estimate import Estimate, bootstrap_ci, estimate, interval_over_runs
from metarl.figures.appearance import labels
from metarl.study.methods import Method
from metarl.study.runs import ReferenceReturns

Improvement = tuple[float, list[float]]
"""How probably a run of one method earns more on a task than one of another, and the 95 % interval."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Methods that were evaluated on the same tasks; all but the first are measured against that one."""

    methods: list[Method]

    @property
    def env(self) -> str:
        return self.methods[0].run.env

    @property
    def tasks(self) -> dict[str, Any]:
        """`split`, `num_tasks` and `seed` (of the tasks)."""
        return {key: self.methods[0].run.evaluation[key] for key in ("split", "num_tasks", "seed")}

    @property
    def seeds(self) -> str:
        """How many seeds its methods have, in words."""
        return counted_seeds(self.methods)

    @cached_property
    def labels(self) -> dict[str, str]:
        """The label of each method by its short name."""
        return labels([method.short for method in self.methods])

    @property
    def trials_only(self) -> bool:
        """Does every method adapt in the episodes of a trial?"""
        return all(method.run.stages.trial for method in self.methods)

    @property
    def mixed(self) -> bool:
        """Do some methods adapt by gradient steps and others in the episodes of a trial?"""
        return not self.trials_only and any(method.run.stages.trial for method in self.methods)

    @cached_property
    def trial_lengths(self) -> list[int]:
        """The numbers of episodes, more than one, of the trials that some method plays."""
        return sorted({method.run.stages.episodes for method in self.methods} - {1})

    @cached_property
    def references(self) -> dict[str, ReferenceReturns]:
        """Averaged over the runs whose evaluation has them: they played the same tasks.

        The figure of an episode is that of the first on a task where some run has it, and otherwise the mean over a
        trial.
        """
        runs = sorted((r for m in self.methods for r in m.runs), key=lambda run: run.stages.episodes > 1)
        out = {}
        for name in dict.fromkeys(name for run in runs for name in run.references):
            all_ = [run.references[name] for run in runs if name in run.references]
            single = [r.episode for r in all_ if not r.trials]
            lengths = sorted({length for r in all_ for length in r.trials})
            trials = {length: average([r.trials[length] for r in all_ if length in r.trials]) for length in lengths}
            longest = [r.curve for r in all_ if r.curve is not None and max(trials) in r.trials]
            out[name] = ReferenceReturns(
                average(single or [r.episode for r in all_]), trials, average(longest) if longest else None
            )
        return out

    @cached_property
    def improvements(self) -> dict[str, list[Improvement | None]]:
        """Of all methods but the first, over the same stage of that one; None where the first has no such stage."""
        first = self.methods[0]
        out = {}
        for method in self.methods[1:]:
            alike = method.run.stages.trial == first.run.stages.trial
            there = {name: k for k, name in enumerate(first.run.stage_names)} if alike else {}
            out[method.name] = [
                probability_of_improvement(method.scores[..., k], first.scores[..., there[name]])
                if name in there
                else None
                for k, name in enumerate(method.run.stage_names)
            ]
        return out

    @cached_property
    def last_improvements(self) -> dict[str, Improvement]:
        """The same of each one's last stage over the first method's."""
        last = [method.scores[..., -1] for method in self.methods]
        pairs = zip(self.methods[1:], last[1:], strict=True)
        return {method.name: probability_of_improvement(own, last[0]) for method, own in pairs}

    @cached_property
    def trials(self) -> dict[int, dict[str, tuple[Estimate, Improvement | None]]]:
        """By number of episodes and method: the return of whole trials, and its improvement over the first there."""
        out: dict[int, dict[str, tuple[Estimate, Improvement | None]]] = {}
        for length in self.trial_lengths:
            returns = {m.name: x for m in self.methods if (x := m.trial_returns(length)) is not None}
            first, *_ = returns.values()
            out[length] = {
                name: (estimate(own), None if own is first else probability_of_improvement(own, first))
                for name, own in returns.items()
            }
        return out

    @cached_property
    def notes(self) -> list[str]:
        """What a reader should know of these numbers."""
        notes, labels = [], {method.name: self.labels[method.short] for method in self.methods}
        counts = [len(method.runs) for method in self.methods]
        if single := [labels[method.name] for method in self.methods if len(method.runs) == 1]:
            notes.append(
                f"One seed only ({'; '.join(single)}): these intervals are over tasks and say nothing of other seeds."
            )
        if any(1 < count < 5 for count in counts):
            notes.append("Fewer than five seeds: an interval misses what none of them shows, such as seeds that fail.")
        least = min(self.methods, key=lambda method: method.env_steps)
        most = max(self.methods, key=lambda method: method.env_steps)
        if most.env_steps > 1.1 * least.env_steps:
            notes.append(
                f"Unequal budgets on {self.env}: from {least.env_steps:,} environment steps of training "
                f"({labels[least.name]}) to {most.env_steps:,} ({labels[most.name]})."
            )
        episodes = {method.run.evaluation["num_envs"]: labels[method.name] for method in reversed(self.methods)}
        if len(episodes) > 1:
            said = ", ".join(f"{count} of {name}" for count, name in sorted(episodes.items()))
            notes.append(
                f"A score on {self.env} is the mean over episodes on a task: {said}. More episodes mean less noise in "
                "the interquartile mean and in the probability of improvement; evaluate policies with a memory with "
                "the same --num-envs, or compare means."
            )
        for run in (run for method in self.methods for run in method.runs):
            done, planned = run.evaluation["iteration"], run.train["num_iterations"]
            if done < planned:
                notes.append(f"{run.path} was evaluated after {done} of its {planned} meta-iterations.")
        return notes

    def to_json(self) -> dict[str, Any]:
        """All numbers.

        A method has the fields of an `Estimate`, and `episodes_before` (experience on a task), for each of its stages.
        `method` is the name without the family, `train_seconds` the median over runs, and `intervals` says whether they
        are over seeds and tasks or, of one seed, over tasks. `improvement` over the same stage of the first method is
        None where that one has no such stage; `last_improvement` is each one's last stage against the other's. `trials`
        has the return of whole trials by their number of episodes.
        """
        return {
            "env": self.env,
            **self.tasks,
            "methods": [self._method_json(method) for method in self.methods],
            "references": {name: _reference_json(reference) for name, reference in self.references.items()},
            "notes": self.notes,
        }

    def _method_json(self, method: Method) -> dict[str, Any]:
        name, run = method.name, method.run
        out = {
            "name": name,
            "preset": run.preset,
            "method": method.short,
            "runs": [str(run.path) for run in method.runs],
            "seeds": [run.seed for run in method.runs],
            "iteration": run.evaluation["iteration"],
            "env_steps": method.env_steps,
            "train_seconds": method.train_seconds,
            "intervals": "over seeds and tasks" if len(method.runs) > 1 else "over tasks",
            "stages": asdict(run.stages),
            "stage_names": run.stage_names,
            "episodes_before": run.episodes_before,
            **method.adaptation.to_json(),
            "trials": {
                str(length): returns[name][0].to_json() | _improvement_json(returns[name][1])
                for length, returns in self.trials.items()
                if name in returns
            },
        }
        if name in self.improvements:
            pairs = [pair or (None, None) for pair in self.improvements[name]]
            out["improvement"], out["improvement_ci95"] = map(list, zip(*pairs, strict=True))
            out |= _improvement_json(self.last_improvements[name], "last_improvement")
        return out


def _improvement_json(improvement: Improvement | None, name: str = "improvement") -> dict[str, Any]:
    return {} if improvement is None else {name: improvement[0], f"{name}_ci95": improvement[1]}


def _reference_json(reference: ReferenceReturns) -> dict[str, Any]:
    out = reference.episode.to_json()
    out["trials"] = {str(length): trial.to_json() for length, trial in reference.trials.items()}
    if (curve := reference.curve) is not None:
        out["curve"] = {"episodes_before": list(range(len(curve.mean))), **curve.to_json()}
    return out


def counted_seeds(methods: Sequence[Method]) -> str:
    """Such as `5 seeds`, or `1 or 5 seeds` where methods differ in that."""
    counts = sorted({len(method.runs) for method in methods})
    return f"{' or '.join(map(str, counts))} seed{'s' * (counts != [1])}"


def average(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of each number over estimates of the same quantities, whatever their order."""
    values = (np.stack(same) for same in zip(*(vars(one).values() for one in estimates), strict=True))
    # sorted, so that the order of runs does not show in the last digit
    return Estimate(*(np.sort(same, axis=0).mean(0) for same in values))


def probability_of_improvement(x: np.ndarray, y: np.ndarray) -> Improvement:
    """How probably a run of x [R, T] earns more than one of y [S, T] on a task, and its 95 % interval.

    The mean over tasks of the Mann-Whitney statistic, in which a tie counts half (Agarwal et al. 2021, section 4.3).
    The interval is over the runs of both and over tasks; where one of them has a single run, over tasks alone.
    """
    wins = (np.sign(x[:, None] - y[None]) + 1) / 2  # [R, S, T]
    mean = wins.mean()
    if min(len(x), len(y)) == 1:
        return float(mean), bootstrap_ci(wins.mean((0, 1)), np.mean)
    return float(mean), interval_over_runs(mean, wins.mean(1), wins.mean(0)).clip(0, 1).tolist()
