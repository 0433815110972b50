"""Evaluation: adaptation curves on held-out tasks, with reference policies on the same tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
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
from metarl.learning.rollout import Play, Trajectory, reference_rollout

CHUNK_STEPS = 100_000
"""Tasks are evaluated in groups of about this many environment steps, to bound memory."""


def _chunks(env: Env, task: Struct, num_envs: int, group: int | None = None) -> Iterator[Struct]:
    size = group or max(1, CHUNK_STEPS // (num_envs * env.horizon))
    for start in range(0, len(task), size):
        yield task[start : start + size]


@dataclass(frozen=True, eq=False)
class Played:
    """What N tasks brought in K stages of T steps, averaged over their episodes."""

    rewards: Tensor  # [N, K, T]
    scores: dict[str, Tensor]  # by the names of `Env.scores`, [N, K] each

    @classmethod
    def of(cls, env: Env, task: Struct, trajectories: list[Trajectory]) -> Played:
        """Of trajectories that kept states where `has_scores(env)`."""
        stages = [episode for t in trajectories for episode in t.episodes(env.horizon)]
        told = [env.scores(task, s.states[:, 0], s.action, s.reward) for s in stages if s.states is not None]
        scores = {name: torch.stack([stage[name].mean(-1) for stage in told], 1).cpu() for name in (told or [{}])[0]}
        return cls(torch.stack([stage.reward.mean(-1) for stage in stages], 1).cpu(), scores)

    @classmethod
    def join(cls, parts: list[Played]) -> Played:
        """Of all tasks from groups of them."""
        scores = {name: torch.cat([part.scores[name] for part in parts]) for name in parts[0].scores}
        return cls(torch.cat([part.rewards for part in parts]), scores)


def has_scores(env: Env) -> bool:
    """Does the family define `Env.scores`, for which states must be kept?"""
    return type(env).scores is not Env.scores


def play_stages(
    env: Env,
    play: Play,
    task: Struct,
    num_envs: int,
    progress: Callable[[float], None] = lambda fraction: None,
    group: int | None = None,
) -> Played:
    """The K stages of adaptation on each task.

    Args:
        play: such as an algorithm's `play(env, num_envs, generator, stages)`.
        task: N tasks.
        num_envs: episodes per task that `play` plays at once, or in a trial; they bound the size of a group.
        progress: called with the part that is done, after each group of tasks.
        group: tasks in a group, instead.

    Raises:
        NonFiniteError: when the environment returned numbers that are not finite.
    """
    parts: list[Played] = []
    done = 0
    for chunk in _chunks(env, task, num_envs, group):
        trajectories = play(chunk, has_scores(env))
        check_environment(env, trajectories)
        parts.append(Played.of(env, chunk, trajectories))
        done += len(chunk)
        progress(done / len(task))
    return Played.join(parts)


def play_references(
    env: Env, task: Struct, num_envs: int, generator: Generator, num_episodes: int = 1
) -> dict[str, Played]:
    """The same for trials of `num_episodes` episodes under each reference policy, an episode a stage."""

    def played(reference: Reference) -> Iterator[Played]:
        for chunk in _chunks(env, task, num_envs * num_episodes):
            trial = reference_rollout(env, reference, chunk, num_envs, generator, num_episodes, has_scores(env))
            yield Played.of(env, chunk, [trial])

    return {name: Played.join(list(played(reference))) for name, reference in all_references(env).items()}


def fingerprint(task: Struct) -> str:
    """A short hash of tasks, equal for equal tasks."""
    digest = hashlib.sha256()

    def add(tensor: Tensor) -> Tensor:
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return tensor

    task.map(add)
    return digest.hexdigest()[:16]


def summarize(
    rewards: np.ndarray,
    references: dict[str, np.ndarray],
    stages: Stages | None = None,
    greedy: np.ndarray | None = None,
) -> dict[str, Any]:
    """Statistics over tasks, JSON-able.

    Args:
        rewards: [N, K, T] of `play_stages`.
        references: name -> [N, num_episodes, T].
        stages: what the K stages are; by default gradient steps.
        greedy: [N, num_episodes, T] under the most probable actions.

    Returns:
        `stages` (the fields of `Stages`), `adaptation` (an `Estimate` of the return in each stage), `per_task` (returns
        [N][K]) and `references` (for each an `Estimate` of the return of an episode). Of trials also: `trial`, and in
        each reference, with an `Estimate` of the sum over their episodes and, as `curve`, one of the return of each
        episode or, where a trial is one episode, of the reward of each step; its intervals are by standard errors.
        With `greedy` also that, like a reference.
    """
    rewards = rewards.astype(np.float64)
    stages = stages or Stages(rewards.shape[1] - 1)
    x = rewards.sum(2)
    out: dict[str, Any] = {
        "stages": asdict(stages),
        "adaptation": estimate(x[None]).to_json(),
        "per_task": x.tolist(),
        "references": {name: _of_policy(r, stages) for name, r in references.items()},
    }
    if stages.trial:
        out["trial"] = _trial(rewards[:, : stages.num_episodes])
    if greedy is not None:
        out["greedy"] = _of_policy(greedy, stages)
    return out


def summarize_scores(played: Played, references: Mapping[str, Played]) -> dict[str, Any]:
    """The scores of `Env.scores` by name, JSON-able; empty where the family has none.

    For each, `adaptation`, an `Estimate` in each stage, and `references`, by name one of the mean over episodes.
    """
    return {
        name: {
            "adaptation": estimate(score.numpy().astype(np.float64)[None]).to_json(),
            "references": {
                policy: estimate(reference.scores[name].numpy().astype(np.float64).mean(1)[None]).to_json()
                for policy, reference in references.items()
            },
        }
        for name, score in played.scores.items()
    }


def stages_of(evaluation: Mapping[str, Any]) -> Stages:
    """The stages of an evaluation that `summarize` made."""
    return Stages(**evaluation["stages"])


def _of_policy(rewards: np.ndarray, stages: Stages) -> dict[str, Any]:
    """Of a policy that played [N, num_episodes, T]."""
    rewards = rewards.astype(np.float64)
    episode = estimate(rewards.sum((1, 2))[None] / rewards.shape[1]).to_json()
    return {**episode, "trial": _trial(rewards)} if stages.trial else episode


def _trial(rewards: np.ndarray) -> dict[str, Any]:
    """Of whole trials [N, E, T]."""
    curve = rewards.sum(2) if rewards.shape[1] > 1 else rewards[:, 0]
    whole = rewards.sum((1, 2))[None]
    return {**estimate(whole).to_json(), "curve": estimate_by_errors(curve).to_json()}
