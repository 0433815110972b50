"""Evaluation: adaptation curves on held-out tasks, with reference policies on the same tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from envs.contract import all_references
from envs.core import Env, Reference
from envs.structs import Struct
from metarl.algorithms.base import Stages
from metarl.learning.finite import check_environment
from metarl.learning.rollout import Play, reference_rollout

CHUNK_STEPS = 100_000
"""Tasks are evaluated in groups of about this many environment steps, to bound memory."""


def _chunks(env: Env, task: Struct, num_envs: int, group: int | None = None) -> Iterator[Struct]:
    size = group or max(1, CHUNK_STEPS // (num_envs * env.horizon))
    for start in range(0, len(task), size):
        yield task[start : start + size]


def adaptation_rewards(
    env: Env,
    play: Play,
    task: Struct,
    num_envs: int,
    progress: Callable[[float], None] = lambda fraction: None,
    group: int | None = None,
) -> Tensor:
    """Rewards of each task in each stage of adaptation, averaged over episodes; their sum over time is the return.

    Args:
        play: such as an algorithm's `play(env, num_envs, generator, stages)`.
        task: N tasks.
        num_envs: episodes per task that `play` plays at once, or in a trial; they bound the size of a group.
        progress: called with the part that is done, after each group of tasks.
        group: tasks in a group, instead.

    Returns:
        [N, K, T] for the K stages of T steps that `play` plays.

    Raises:
        NonFiniteError: when the environment returned numbers that are not finite.
    """
    rows: list[Tensor] = []
    for chunk in _chunks(env, task, num_envs, group):
        trajectories = play(chunk, False)
        check_environment(env, trajectories)
        stages = [episode for t in trajectories for episode in t.episodes(env.horizon)]
        rows.extend(torch.stack([stage.reward.mean(-1) for stage in stages], 1))
        progress(len(rows) / len(task))
    return torch.stack(rows).cpu()


def reference_rewards(
    env: Env, task: Struct, num_envs: int, generator: Generator, num_episodes: int = 1
) -> dict[str, Tensor]:
    """The same for trials of `num_episodes` episodes under each reference policy: [N, num_episodes, T]."""

    def rewards(reference: Reference) -> Tensor:
        chunks = _chunks(env, task, num_envs * num_episodes)
        trials = (reference_rollout(env, reference, c, num_envs, generator, num_episodes) for c in chunks)
        return torch.cat([trial.reward.mean(-1) for trial in trials]).unflatten(1, (num_episodes, -1)).cpu()

    return {name: rewards(reference) for name, reference in all_references(env).items()}


def fingerprint(task: Struct) -> str:
    """A short hash of tasks, equal for equal tasks."""
    digest = hashlib.sha256()

    def add(tensor: Tensor) -> Tensor:
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return tensor

    task.map(add)
    return digest.hexdigest()[:16]


def interquartile_mean(x: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean of the middle half (Agarwal et al. 2021)."""
    from scipy.stats import trim_mean

    return trim_mean(x, 0.25, axis=axis)


def bootstrap_ci(x: np.ndarray, statistic: Callable, seed: int = 0) -> list[float]:
    """95 % percentile bootstrap interval of `statistic(x, axis)` for x [N]; a single value is its own interval."""
    from scipy.stats import bootstrap

    if len(x) < 2 or np.ptp(x) == 0:
        return [float(statistic(x, axis=0))] * 2
    rng = np.random.default_rng(seed)
    result = bootstrap((x,), statistic, n_resamples=2000, method="percentile", rng=rng, vectorized=True, batch=200)
    return [float(result.confidence_interval.low), float(result.confidence_interval.high)]


def summarize(rewards: np.ndarray, references: dict[str, np.ndarray], stages: Stages | None = None) -> dict[str, Any]:
    """Statistics over tasks, JSON-able.

    Args:
        rewards: [N, K, T] as `adaptation_rewards` returns them.
        references: name -> [N, num_episodes, T].
        stages: what the K stages are; by default gradient steps.

    Returns:
        `adaptation` with `unit`, and for each stage `mean`, `mean_ci95`, `iqm`, `ci95` (of the interquartile mean) and
        `std`; `per_task` returns [N][K]; and `references` with `mean`, `ci95` (of the mean), `iqm` and `iqm_ci95` of
        the return of an episode. Of trials also: `trial`, and in each reference, with the same four of the sum over
        their episodes, and with `curve`: the mean return of each episode or, where a trial is one episode, the mean
        reward of each step, and `curve_ci95`, 1.96 standard errors to both sides. Trials of several episodes also have
        `curve_iqm` of each episode and `curve_iqm_ci95` by the standard error of a trimmed mean (Tukey & McLaughlin
        1963).
    """
    rewards = rewards.astype(np.float64)
    stages = stages or Stages(rewards.shape[1] - 1)
    x = rewards.sum(2)
    columns = list(x.T)
    out: dict[str, Any] = {
        "adaptation": {
            "unit": stages.unit,
            "mean": x.mean(0).tolist(),
            "mean_ci95": [bootstrap_ci(c, np.mean) for c in columns],
            "iqm": interquartile_mean(x).tolist(),
            "ci95": [bootstrap_ci(c, interquartile_mean) for c in columns],
            "std": x.std(0, ddof=min(1, len(x) - 1)).tolist(),
        },
        "per_task": x.tolist(),
        "references": {
            name: statistics_over_tasks(r.astype(np.float64).sum((1, 2)) / r.shape[1]) for name, r in references.items()
        },
    }
    if stages.trial:
        out["num_episodes"] = stages.num_episodes
        out["trial"] = _trial(rewards[:, : stages.num_episodes])
        for name, r in references.items():
            out["references"][name]["trial"] = _trial(r.astype(np.float64))
    return out


def stages_of(evaluation: Mapping[str, Any]) -> Stages:
    """The stages of an evaluation that `summarize` made."""
    count = len(evaluation["adaptation"]["mean"])
    if "num_episodes" not in evaluation:
        return Stages(count - 1)
    return Stages(count - evaluation["num_episodes"], evaluation["num_episodes"])


def _trial(rewards: np.ndarray) -> dict[str, Any]:
    """Of whole trials [N, E, T]."""
    from scipy.stats.mstats import trimmed_mean_ci

    curve = rewards.sum(2) if rewards.shape[1] > 1 else rewards[:, 0]
    mean, error = curve.mean(0), curve.std(0) / np.sqrt(len(curve))
    interval = np.stack([mean - 1.96 * error, mean + 1.96 * error], -1)
    out = {**statistics_over_tasks(rewards.sum((1, 2))), "curve": mean.tolist(), "curve_ci95": interval.tolist()}
    if rewards.shape[1] > 1:
        out["curve_iqm"] = interquartile_mean(curve).tolist()
        out["curve_iqm_ci95"] = np.transpose(trimmed_mean_ci(curve, (0.25, 0.25), axis=0)).tolist()
    return out


def statistics_over_tasks(x: np.ndarray) -> dict[str, Any]:
    """`mean`, `ci95` (of the mean), `iqm` and `iqm_ci95` of scores [T]; the bootstrap draws tasks."""
    return {
        "mean": float(x.mean()),
        "ci95": bootstrap_ci(x, np.mean),
        "iqm": float(interquartile_mean(x)),
        "iqm_ci95": bootstrap_ci(x, interquartile_mean),
    }
