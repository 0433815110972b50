"""Evaluation: adaptation curves on held-out tasks, with reference policies on the same tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from envs.contract import all_references
from envs.core import Env, Reference
from envs.structs import Struct
from metarl.algorithms.base import Stages
from metarl.evaluation.estimate import estimate, estimate_by_errors
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


def summarize(rewards: np.ndarray, references: dict[str, np.ndarray], stages: Stages | None = None) -> dict[str, Any]:
    """Statistics over tasks, JSON-able.

    Args:
        rewards: [N, K, T] as `adaptation_rewards` returns them.
        references: name -> [N, num_episodes, T].
        stages: what the K stages are; by default gradient steps.

    Returns:
        `stages` (the fields of `Stages`), `adaptation` (an `Estimate` of the return in each stage), `per_task` (returns
        [N][K]) and `references` (for each an `Estimate` of the return of an episode). Of trials also: `trial`, and in
        each reference, with an `Estimate` of the sum over their episodes and, as `curve`, one of the return of each
        episode or, where a trial is one episode, of the reward of each step; its intervals are by standard errors.
    """
    rewards = rewards.astype(np.float64)
    stages = stages or Stages(rewards.shape[1] - 1)
    x = rewards.sum(2)
    played = {name: r.astype(np.float64) for name, r in references.items()}
    out: dict[str, Any] = {
        "stages": asdict(stages),
        "adaptation": estimate(x[None]).to_json(),
        "per_task": x.tolist(),
        "references": {name: estimate(r.sum((1, 2))[None] / r.shape[1]).to_json() for name, r in played.items()},
    }
    if stages.trial:
        out["trial"] = _trial(rewards[:, : stages.num_episodes])
        for name, r in played.items():
            out["references"][name]["trial"] = _trial(r)
    return out


def stages_of(evaluation: Mapping[str, Any]) -> Stages:
    """The stages of an evaluation that `summarize` made."""
    return Stages(**evaluation["stages"])


def _trial(rewards: np.ndarray) -> dict[str, Any]:
    """Of whole trials [N, E, T]."""
    curve = rewards.sum(2) if rewards.shape[1] > 1 else rewards[:, 0]
    whole = rewards.sum((1, 2))[None]
    return {**estimate(whole).to_json(), "curve": estimate_by_errors(curve).to_json()}
