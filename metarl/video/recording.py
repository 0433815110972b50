"""What a video of adaptation shows: the states of one lane on each task, the returns of all, the memory's attention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from envs.structs import Struct
from metarl.algorithms.base import Stages
from metarl.learning.rollout import Play
from metarl.policies.mlp import StepInput

MOST_PANELS = 5
"""Episodes of a trial side by side; longer trials show some of them."""


@dataclass(frozen=True, eq=False)
class RecordedEpisode:
    """One lane's episode, cut at its termination."""

    states: Struct  # [t + 1, ...], from the start to the end
    rewards: Tensor  # [t]


@dataclass(frozen=True, eq=False)
class Recording:
    """What `compose` draws: N tasks, each in K stages of adaptation.

    Attributes:
        task: [N].
        episodes: `episodes[n][k]` is lane 0 on task n in stage k.
        mean_rewards: rewards averaged over all lanes, [K, N, T]; 0 after a lane's termination.
        durations: length of the longest episode of each task, over all lanes and k, in steps.
        num_envs: lanes behind each mean.
        stages: what they are.
        attention: share of each earlier step of lane 0's trial in what each step retrieves from the memory,
            [N, num_episodes * T, num_episodes * T]; 0 in the rows and columns of steps that did not happen.
        belief: mean and standard deviation of the belief about the task after each step of lane 0's trial,
            [N, 2, num_episodes * T, L].
    """

    task: Struct
    episodes: list[list[RecordedEpisode]]
    mean_rewards: Tensor
    durations: list[int]
    num_envs: int
    stages: Stages
    attention: Tensor | None = None
    belief: Tensor | None = None

    @property
    def num_episodes(self) -> int:
        """Of a trial; 1 where the stages are none."""
        return self.stages.episodes

    @property
    def returns(self) -> Tensor:
        """Mean return over all lanes [K, N], the adaptation curve of each task."""
        return self.mean_rewards.sum(-1)

    @property
    def trial(self) -> bool:
        return self.stages.trial

    @property
    def names(self) -> list[str]:
        """Of the stages."""
        if self.trial:
            return self.stages.names if self.num_episodes > 1 else ["trial"]
        after = (f"after {k} gradient step{'s' * (k > 1)}" for k in range(1, len(self.stages)))
        return ["before adaptation", *after]

    @property
    def panels(self) -> list[range]:
        """The stages that share a panel, where the last of them stays.

        Each has its own but in long trials: there the first and the last episode do, and some between them.
        """
        count = len(self.mean_rewards)
        shown = min(count, MOST_PANELS) if self.trial else count
        stay = [round(k) for k in np.linspace(0, count - 1, shown)]
        return [range(a + 1, b + 1) for a, b in pairwise([-1, *stay])]


def record_adaptation(
    play: Play,
    task: Struct,
    stages: Stages,
    attention: Callable[[StepInput], Tensor | None] = lambda inputs: None,
    belief: Callable[[StepInput], Tensor | None] = lambda inputs: None,
) -> Recording:
    """Play on these tasks and keep lane 0 of each stage of adaptation.

    Args:
        stages: those that `play` plays.
        attention: of whole trials, inputs [N, T, ...] -> [N, T, T], such as a `TrialNetwork`'s; None without a memory
            to attend to.
        belief: of whole trials likewise, -> [N, 2, T, L].
    """
    played = play(task, True)
    horizon = played[0].reward.shape[1] // stages.episodes
    trajectories = [episode for trajectory in played for episode in trajectory.episodes(horizon)]
    episodes: list[list[RecordedEpisode]] = [[] for _ in trajectories[0].obs]
    for trajectory in trajectories:
        assert trajectory.states is not None
        lane = trajectory.states.map(lambda x: x[:, 0, :, 0])  # [N, T + 1, ...]
        for n, length in enumerate(trajectory.mask[:, :, 0].sum(1).int().tolist()):
            episodes[n].append(RecordedEpisode(lane[n, : length + 1], trajectory.reward[n, :length, 0]))
    lengths = torch.stack([t.mask.sum(1).amax(1) for t in trajectories])  # [K, N]
    mean_rewards = torch.stack([t.reward.mean(-1) for t in trajectories])
    durations, num_envs = lengths.amax(0).int().tolist(), trajectories[0].reward.shape[2]
    trial = replace(played[0], states=None)[:, :, 0]
    shares = attention(trial.inputs)
    if shares is not None:
        shares = shares * trial.mask.unsqueeze(-1)
    return Recording(task, episodes, mean_rewards, durations, num_envs, stages, shares, belief(trial.inputs))


def pace(recording: Recording) -> tuple[int, int]:
    """Steps per frame and frames per second.

    The longest task plays in 3 to 8 s and at most 150 frames, a trial in 5 to 15 s and at most 300.
    """
    longest = recording.num_episodes * max(recording.durations)
    if recording.trial:
        every = max(1, round(longest / 200))
        return every, min(30, max(2, round(longest / every / 10)))
    every = max(1, round(longest / 100))
    return every, min(30, max(6, round(longest / every / 5)))
