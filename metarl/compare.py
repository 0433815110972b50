"""Methods side by side: runs that differ in the seed alone are one method, whose scores are aggregated.

As in rliable (Agarwal et al. 2021, Deep RL at the Edge of the Statistical Precipice): scores are runs × tasks, their
interquartile mean is over all of them, and intervals are percentiles of a bootstrap over runs in which each task keeps
its number of scores. There a run is a training on one task; here one run plays every task, so it is drawn with all its
scores: drawing each task's runs apart would average away what a seed does to all tasks at once.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from envs.errors import require
from metarl.evaluate import bootstrap_ci, interquartile_mean
from metarl.evaluated import Method
from metarl.presets import METHODS, SUITES


def interval_over_runs(scores: np.ndarray, statistic: Callable) -> list[float]:
    """95 % interval of a statistic over all of scores [R, T], from a bootstrap that draws whole runs."""

    @functools.cache  # few runs make few different draws
    def of(runs: tuple[int, ...]) -> float:
        return float(statistic(scores[list(runs)].ravel(), axis=0))

    def of_draws(runs: np.ndarray, axis: int) -> np.ndarray:
        return np.apply_along_axis(lambda draw: of(tuple(draw)), axis, np.sort(runs, axis=axis))

    return bootstrap_ci(np.arange(len(scores)), of_draws)


def curve(method: Method) -> dict[str, Any]:
    """`iqm`, `ci95`, `mean` and `mean_ci95` over all runs and tasks for each adaptation step.

    Those of a single run are the ones of its evaluation: there the bootstrap draws tasks.
    """
    if len(method.runs) == 1:
        alone = method.runs[0].evaluation["adaptation"]
        return {key: alone[key] for key in ("iqm", "ci95", "mean", "mean_ci95")}
    steps = np.moveaxis(method.scores, -1, 0)  # [K + 1, R, T]
    return {
        "iqm": [float(interquartile_mean(scores.ravel())) for scores in steps],
        "ci95": [interval_over_runs(scores, interquartile_mean) for scores in steps],
        "mean": [float(scores.mean()) for scores in steps],
        "mean_ci95": [bootstrap_ci(scores.mean(1), np.mean) for scores in steps],
    }


def probability_of_improvement(x: np.ndarray, y: np.ndarray, seed: int = 0) -> tuple[float, list[float]]:
    """How probably a run of x [R, T] earns more than one of y [S, T] on a task, and its 95 % interval.

    The mean over tasks of the Mann-Whitney statistic, in which a tie counts half (Agarwal et al. 2021, section 4.3).
    The bootstrap draws runs of both; where one of them has a single run, tasks.
    """
    from scipy.stats import bootstrap

    wins = (np.sign(x[:, None] - y[None]) + 1) / 2  # [R, S, T]
    if min(len(x), len(y)) == 1:
        return float(wins.mean()), bootstrap_ci(wins.mean((0, 1)), np.mean, seed)
    pairs = wins.mean(2)  # [R, S]

    def statistic(i: np.ndarray, j: np.ndarray, axis: int) -> np.ndarray:
        return pairs[i[..., :, None], j[..., None, :]].mean((-1, -2))

    rng = np.random.default_rng(seed)
    samples = np.arange(len(x)), np.arange(len(y))
    result = bootstrap(samples, statistic, n_resamples=2000, method="percentile", vectorized=True, rng=rng)
    return float(pairs.mean()), [float(result.confidence_interval.low), float(result.confidence_interval.high)]


def compare(methods: Sequence[Method]) -> dict[str, Any]:
    """All numbers of a comparison, JSON-able.

    Returns:
        `env`, `split`, `num_tasks`, `seed` (of the tasks), `unit`, `methods` (a list), `references` (by name) and
        `notes` (sentences). A method has `name`, `method` (the name without that of the family), `preset`, `runs`,
        `seeds`, `iteration`, `env_steps`, `train_seconds` (median), `resampled` (runs or tasks), for each adaptation
        step `iqm`, `ci95`, `mean`, `mean_ci95`, and, but for the first method, `improvement` over that one and
        `improvement_ci95`. References are averaged over runs.
    """
    runs = [run for method in methods for run in method.runs]
    e = runs[0].evaluation
    units = dict.fromkeys(run.evaluation["adaptation"]["unit"] for run in runs)
    return {
        "env": f"{runs[0].train['env']}/{runs[0].train['env_preset']}",
        **{key: e[key] for key in ("split", "num_tasks", "seed")},
        "unit": " or ".join(units),
        "methods": [_numbers(method, methods[0]) for method in methods],
        "references": _references([run.evaluation["references"] for run in runs]),
        "notes": _notes(methods),
    }


def _numbers(method: Method, first: Method) -> dict[str, Any]:
    evaluations = [run.evaluation for run in method.runs]
    out = {
        "name": method.name,
        "preset": method.runs[0].preset,
        "method": method.name.replace(method.runs[0].preset, method_of(method.runs[0].preset), 1),
        "runs": [str(run.path) for run in method.runs],
        "seeds": [run.seed for run in method.runs],
        "iteration": evaluations[0]["iteration"],
        "env_steps": evaluations[0]["env_steps"],
        "train_seconds": statistics.median(e["train_seconds"] for e in evaluations),
        "resampled": "runs" if len(method.runs) > 1 else "tasks",
        **curve(method),
    }
    if method is not first:
        steps = range(1 + min(method.runs[0].last_step, first.runs[0].last_step))  # that both have
        pairs = [(method.scores[..., k], first.scores[..., k]) for k in steps]
        better, better_ci95 = zip(*(probability_of_improvement(x, y) for x, y in pairs), strict=True)
        out |= {"improvement": list(better), "improvement_ci95": list(better_ci95)}
    return out


def method_of(preset: str) -> str:
    """The part of a preset's name that all families share: maml of maml-point. A name of another kind stays whole."""
    return next((method for method in METHODS for family in SUITES if preset == f"{method}-{family}"), preset)


def overview(results: Sequence[dict[str, Any]], step: int | None = None) -> dict[str, list[dict[str, Any] | None]]:
    """Every method on every environment, after one number of adaptation steps.

    Args:
        results: of `compare`, one for each environment.
        step: the number of steps; by default each method's last.

    Returns:
        For each method, and for each reference that all environments have, a list with a dict of `value` (the IQM) and
        `ci95` for each environment, or None where it was not run.

    Raises:
        InputError: when a method was not evaluated for that many steps.
    """
    rows: dict[str, list[dict[str, Any] | None]] = {}
    for k, result in enumerate(results):
        for m in result["methods"]:
            last = len(m["iqm"]) - 1
            at = last if step is None else step
            require(
                0 <= at <= last, f"{m['name']} was evaluated after 0 to {last} adaptation steps, so there is no "
                f"figure after {at}; choose --step in that range.",
            )  # fmt: skip
            row = rows.setdefault(m["method"], [None] * len(results))
            row[k] = {"value": m["iqm"][at], "ci95": m["ci95"][at]}
    for name in results[0]["references"]:
        entries = [result["references"].get(name, {}) for result in results]
        if all("iqm" in r for r in entries):
            rows[name] = [{"value": r["iqm"], "ci95": r["iqm_ci95"]} for r in entries]
    return rows


def _references(references: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Each reference's numbers, averaged over the runs whose evaluation has it: they played the same tasks."""
    out: dict[str, Any] = {}
    for name in dict.fromkeys(name for r in references for name in r):
        entries = [r[name] for r in references if name in r]
        keys = [key for key in ("mean", "ci95", "iqm", "iqm_ci95") if all(key in entry for entry in entries)]
        # sorted, so that the order of runs does not show in the last digit
        out[name] = {key: np.sort([entry[key] for entry in entries], axis=0).mean(0).tolist() for key in keys}
    return out


def _notes(methods: Sequence[Method]) -> list[str]:
    notes = []
    counts = [len(method.runs) for method in methods]
    single = [method.name for method in methods if len(method.runs) == 1]
    if single:
        notes.append(
            f"One seed only ({'; '.join(single)}): these intervals are over tasks and say nothing of other seeds."
        )
    if any(1 < count < 5 for count in counts):
        notes.append("Over fewer than five seeds a bootstrap interval is narrower than it says: read it as a range.")
    for run in (run for method in methods for run in method.runs):
        done, planned = run.iteration, run.train["num_iterations"]
        if done < planned:
            notes.append(f"{run.path} was evaluated after {done} of its {planned} meta-iterations.")
    return notes
