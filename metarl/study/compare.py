"""Methods side by side: runs that differ in the seed alone are one method, whose scores are aggregated."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.errors import require
from metarl.figures.appearance import labels, method_of
from metarl.study.runs import EvaluatedRun, Method
from metarl.study.statistics import probability_of_improvement, statistics_over_runs


def curve(method: Method) -> dict[str, Any]:
    """`iqm`, `ci95`, `mean` and `mean_ci95` over all runs and tasks for each stage of adaptation.

    Those of a single run are the ones of its evaluation: there the bootstrap draws tasks.
    """
    if len(method.runs) == 1:
        alone = method.runs[0].evaluation["adaptation"]
        return {key: alone[key] for key in ("iqm", "ci95", "mean", "mean_ci95")}
    stages = [statistics_over_runs(scores) for scores in np.moveaxis(method.scores, -1, 0)]
    keys = {"iqm": "iqm", "ci95": "iqm_ci95", "mean": "mean", "mean_ci95": "ci95"}
    return {key: [stage[name] for stage in stages] for key, name in keys.items()}


def compare(methods: Sequence[Method]) -> dict[str, Any]:
    """All numbers of a comparison, JSON-able.

    Returns:
        `env`, `split`, `num_tasks`, `seed` (of the tasks), `unit`, `methods` (a list), `references` (by name) and
        `notes` (sentences). A method has `name`, `method` (the name without that of the family), `preset`, `runs`,
        `seeds`, `iteration`, `env_steps`, `train_seconds` (median), `resampled` (runs or tasks), `unit`,
        `num_episodes` (of a trial), and for each of its stages the name in `stages`, `episodes_before` (experience on a
        task), `iqm`, `ci95`, `mean` and `mean_ci95`. `trials` has the return of whole trials by their number of
        episodes (as a string): `mean`, `ci95`, `iqm`, `iqm_ci95`. All but the first method have `improvement` over the
        same stage of that one and `improvement_ci95` (None where the first has no such stage), and
        `last_improvement` and `last_improvement_ci95`, each one's last stage against the other's; trials likewise.
        References have `mean`, `ci95`, `iqm` and `iqm_ci95` of an episode, `trials`, and a `curve` over the episodes of
        a trial; they are averaged over runs.
    """
    runs = [run for method in methods for run in method.runs]
    e, env = runs[0].evaluation, f"{runs[0].train['env']}/{runs[0].train['env_preset']}"
    lengths = sorted({run.num_episodes for run in runs} - {1})
    numbers = [_numbers(method, methods, lengths) for method in methods]
    kinds = [method_of(preset) for preset in {m["preset"] for m in numbers}]
    for m in numbers:
        if kinds.count(method_of(m["preset"])) > 1:  # a preset of another family, trained on this one
            m["method"] = m["name"]
    return {
        "env": env,
        **{key: e[key] for key in ("split", "num_tasks", "seed")},
        "unit": " or ".join(dict.fromkeys(run.adaptation.unit for run in runs)),
        "methods": numbers,
        "references": _references(runs, lengths),
        "notes": _notes(methods, env),
    }


def _numbers(method: Method, methods: Sequence[Method], lengths: Sequence[int]) -> dict[str, Any]:
    evaluations = [run.evaluation for run in method.runs]
    run, first, other = method.runs[0], methods[0], methods[0].runs[0]
    out = {
        "name": method.name,
        "preset": run.preset,
        "method": method.name.replace(run.name, method_of(run.name), 1),
        "runs": [str(run.path) for run in method.runs],
        "seeds": [run.seed for run in method.runs],
        "iteration": evaluations[0]["iteration"],
        "env_steps": evaluations[0]["env_steps"],
        "train_seconds": statistics.median(e["train_seconds"] for e in evaluations),
        "resampled": "runs" if len(method.runs) > 1 else "tasks",
        "unit": run.adaptation.unit,
        "num_episodes": run.num_episodes,
        "stages": run.stages,
        "episodes_before": run.episodes_before,
        **curve(method),
        "trials": _trials(method, methods, lengths),
    }
    if method is not first:
        there = (
            {name: k for k, name in enumerate(other.stages)} if run.adaptation.trial == other.adaptation.trial else {}
        )
        better = [
            probability_of_improvement(method.scores[..., k], first.scores[..., there[name]]) if name in there else None
            for k, name in enumerate(run.stages)
        ]
        out["improvement"], out["improvement_ci95"] = ([pair and pair[i] for pair in better] for i in (0, 1))
        last = probability_of_improvement(method.scores[..., -1], first.scores[..., -1])
        out["last_improvement"], out["last_improvement_ci95"] = last
    return out


def trial_returns(method: Method, num_episodes: int) -> np.ndarray | None:
    """The return of a trial [R, T]: of the first episodes on a task, all counted, exploration too.

    Gradient methods have one where they adapt after every single episode, so that their stages are those episodes;
    otherwise None.
    """
    run = method.runs[0]
    stages = run.num_episodes if run.adaptation.trial else run.last_step + 1
    if run.episodes_before[:stages][:num_episodes] != list(range(num_episodes)):
        return None
    return method.scores[..., :num_episodes].sum(-1)


def _trials(method: Method, methods: Sequence[Method], lengths: Sequence[int]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for length in lengths:
        returns = {m.name: x for m in methods if (x := trial_returns(m, length)) is not None}
        if method.name in returns:
            own, (first, others) = returns[method.name], next(iter(returns.items()))
            out[str(length)] = statistics_over_runs(own)
            if first != method.name:
                better, better_ci95 = probability_of_improvement(own, others)
                out[str(length)] |= {"improvement": better, "improvement_ci95": better_ci95}
    return out


def overview(results: Sequence[dict[str, Any]], step: int | None = None) -> dict[str, list[dict[str, Any] | None]]:
    """Every method on every environment, in one stage of adaptation.

    Args:
        results: of `compare`, one for each environment.
        step: the number of adaptation steps before it, which are gradient steps, or episodes of a trial; by default
            each method's last stage. A method with one stage alone, such as a baseline that does not adapt, has that.

    Returns:
        For each method, and for each reference that all environments have, a list with a dict of `stage` (its name),
        `value` (the IQM) and `ci95` for each environment, or None where it was not run.

    Raises:
        InputError: when a method was not evaluated for that many steps.
    """
    rows: dict[str, list[dict[str, Any] | None]] = {}
    for k, result in enumerate(results):
        for m in result["methods"]:
            last = len(m["iqm"]) - 1
            at = last if step is None or last == 0 else step
            require(
                0 <= at <= last, f"{m['name']} was evaluated after 0 to {last} adaptation steps, so there is no "
                f"figure after {at}; choose --step in that range.",
            )  # fmt: skip
            row = rows.setdefault(m["method"], [None] * len(results))
            row[k] = {"stage": m["stages"][at], "value": m["iqm"][at], "ci95": m["ci95"][at]}
    for name in results[0]["references"]:
        entries = [result["references"].get(name, {}) for result in results]
        if all("iqm" in r for r in entries):
            rows[name] = [_reference_at(r, step) for r in entries]
    return rows


def _reference_at(reference: dict[str, Any], step: int | None) -> dict[str, Any]:
    """An entry of `overview`: a reference learns from the episodes of a trial, and from nothing else."""
    curve = reference.get("curve", {})
    if "iqm" not in curve:
        return {"stage": None, "value": reference["iqm"], "ci95": reference["iqm_ci95"]}
    at = len(curve["iqm"]) - 1 if step is None else min(step, len(curve["iqm"]) - 1)
    return {"stage": f"episode {at + 1}", "value": curve["iqm"][at], "ci95": curve["ci95"][at]}


def _references(runs: Sequence[EvaluatedRun], lengths: Sequence[int]) -> dict[str, Any]:
    """Each reference's numbers, averaged over the runs whose evaluation has it: they played the same tasks.

    The figure of an episode is that of the first on a task where some run has it, and otherwise the mean over a trial.
    """
    out: dict[str, Any] = {}
    first = sorted(runs, key=lambda run: run.num_episodes > 1)
    for name in dict.fromkeys(name for run in first for name in run.evaluation["references"]):
        out[name] = {"trials": {}}
        having = [run for run in runs if name in run.evaluation["references"]]
        having = [run for run in having if run.num_episodes == 1] or having
        out[name] |= _average([run.evaluation["references"][name] for run in having])
        for length in lengths:
            having = [r for r in runs if r.num_episodes == length and name in r.evaluation["references"]]
            trials = [run.evaluation["references"][name]["trial"] for run in having]
            if trials:
                out[name]["trials"][str(length)] = _average(trials)
                keys = {"curve": "mean", "curve_ci95": "mean_ci95", "curve_iqm": "iqm", "curve_iqm_ci95": "ci95"}
                averaged = _average(trials, tuple(keys))
                out[name]["curve"] = {"episodes_before": list(range(length))}
                out[name]["curve"] |= {new: averaged[key] for key, new in keys.items() if key in averaged}
    return out


def _average(entries: Sequence[dict[str, Any]], keys: Sequence[str] = ("mean", "ci95", "iqm", "iqm_ci95")) -> dict:
    keys = [key for key in keys if entries and all(key in entry for entry in entries)]
    # sorted, so that the order of runs does not show in the last digit
    return {key: np.sort([entry[key] for entry in entries], axis=0).mean(0).tolist() for key in keys}


def _notes(methods: Sequence[Method], env: str) -> list[str]:
    notes = []
    counts = [len(method.runs) for method in methods]
    named = labels([method.name for method in methods])
    single = [named[method.name] for method in methods if len(method.runs) == 1]
    if single:
        notes.append(
            f"One seed only ({'; '.join(single)}): these intervals are over tasks and say nothing of other seeds."
        )
    if any(1 < count < 5 for count in counts):
        notes.append("Over fewer than five seeds a bootstrap interval is narrower than it says: read it as a range.")
    steps = {named[method.name]: method.runs[0].evaluation["env_steps"] for method in methods}
    least, most = min(steps, key=steps.__getitem__), max(steps, key=steps.__getitem__)
    if steps[most] > 1.1 * steps[least]:
        notes.append(
            f"Unequal budgets on {env}: from {steps[least]:,} environment steps of training ({least}) to "
            f"{steps[most]:,} ({most})."
        )
    episodes = {method.runs[0].evaluation["num_envs"]: named[method.name] for method in reversed(methods)}
    if len(episodes) > 1:
        said = ", ".join(f"{count} of {name}" for count, name in sorted(episodes.items()))
        notes.append(
            f"A score on {env} is the mean over episodes on a task: {said}. With more of them chance weighs less in "
            "the interquartile mean and in the probability of improvement; evaluate policies with a memory with the "
            "same --num-envs, or compare means."
        )
    for run in (run for method in methods for run in method.runs):
        done, planned = run.iteration, run.train["num_iterations"]
        if done < planned:
            notes.append(f"{run.path} was evaluated after {done} of its {planned} meta-iterations.")
    return notes
