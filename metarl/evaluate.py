"""Evaluation: adaptation curves on held-out tasks, with reference policies on the same tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from envs.core import Env, Reference
from envs.structs import Struct
from metarl.policy import Policy
from metarl.rollout import Adapter, collect, reference_rollout

CHUNK_STEPS = 100_000
"""Tasks are evaluated in groups of about this many environment steps, to bound memory."""


def _chunks(env: Env, task: Struct, num_envs: int) -> Iterator[Struct]:
    size = max(1, CHUNK_STEPS // (num_envs * env.horizon))
    for start in range(0, len(task), size):
        yield task[start : start + size]


def adaptation_returns(
    env: Env,
    policy: Policy,
    params: Tensor,
    task: Struct,
    adapters: Sequence[Adapter],
    num_envs: int,
    generator: Generator,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Tensor:
    """Mean return of each task after 0, 1, ... adaptation steps.

    Args:
        params: meta-parameters [P].
        task: N tasks.
        adapters: one for each step.
        num_envs: episodes per task and step, over which the return is averaged and from which the next step learns.

    Returns:
        [N, len(adapters) + 1].
    """
    rows: list[Tensor] = []
    for chunk in _chunks(env, task, num_envs):
        trajectories = collect(env, policy, params, chunk, adapters, num_envs, generator)
        rows.extend(torch.stack([t.returns.mean(1) for t in trajectories], 1))
        progress(len(rows) / len(task))
    return torch.stack(rows).cpu()


def reference_returns(
    env: Env, task: Struct, num_envs: int, generator: Generator, num_episodes: int = 1
) -> dict[str, Tensor]:
    """Mean return [N] of each task under each reference policy, over trials of `num_episodes` episodes."""

    def returns(reference: Reference) -> Tensor:
        chunks = _chunks(env, task, num_envs * num_episodes)
        trajectories = (reference_rollout(env, reference, c, num_envs, generator, num_episodes) for c in chunks)
        return torch.cat([trajectory.returns.mean(1) for trajectory in trajectories]).cpu()

    return {name: returns(reference) for name, reference in env.references().items()}


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


def summarize(returns: np.ndarray, references: dict[str, np.ndarray], unit: str = "gradient steps") -> dict[str, Any]:
    """Statistics over tasks, JSON-able.

    Args:
        returns: [N, steps + 1], a row a task.
        references: name -> [N].

    Returns:
        `adaptation` with `unit`, and for each step `mean`, `mean_ci95`, `iqm`, `ci95` (of the interquartile mean) and
        `std`; `per_task`; and `references` with `mean`, `ci95` (of the mean), `iqm` and
        `iqm_ci95`.
    """
    x = returns.astype(np.float64)
    columns = list(x.T)
    return {
        "adaptation": {
            "unit": unit,
            "mean": x.mean(0).tolist(),
            "mean_ci95": [bootstrap_ci(c, np.mean) for c in columns],
            "iqm": interquartile_mean(x).tolist(),
            "ci95": [bootstrap_ci(c, interquartile_mean) for c in columns],
            "std": x.std(0, ddof=min(1, len(x) - 1)).tolist(),
        },
        "per_task": x.tolist(),
        "references": {
            name: {
                "mean": float(r.mean()),
                "ci95": bootstrap_ci(r.astype(np.float64), np.mean),
                "iqm": float(interquartile_mean(r.astype(np.float64))),
                "iqm_ci95": bootstrap_ci(r.astype(np.float64), interquartile_mean),
            }
            for name, r in references.items()
        },
    }
