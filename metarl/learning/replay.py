"""Replay of M tasks: their episodes in preallocated tensors on the device, from which batches of all tasks are drawn.

Episodes and not transitions are kept, so that the observation after a step is stored once. A part of a task's episodes
is its context: those that an encoder may be shown (Rakelly et al. 2019, section 5.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from envs.structs import Struct
from metarl.learning.rollout import Trajectory


@dataclass(frozen=True, eq=False)
class Transitions(Struct):
    """B steps of each of N tasks."""

    obs: Tensor  # [N, B, O]
    action: Tensor  # [N, B, A]
    reward: Tensor  # [N, B]
    next_obs: Tensor  # [N, B, O]
    terminated: Tensor  # [N, B] float: did the episode end here by itself?


class Replay:
    """The latest `capacity` episodes of each of `num_tasks` tasks."""

    def __init__(
        self, num_tasks: int, capacity: int, horizon: int, obs_size: int, action_size: int, device: torch.device
    ) -> None:
        self.capacity, self.sizes = capacity, [obs_size, action_size, 1]
        self.steps = torch.zeros(num_tasks, capacity, horizon + 1, sum(self.sizes), device=device)
        """Observation, action and reward; the last one is the observation after the episode."""
        self.length = torch.zeros(num_tasks, capacity, dtype=torch.int64, device=device)
        self.terminated = torch.zeros(num_tasks, capacity, dtype=torch.bool, device=device)
        self.context = torch.zeros(num_tasks, capacity, dtype=torch.bool, device=device)
        self.next = torch.zeros(num_tasks, dtype=torch.int64, device=device)
        """Where the next episode of a task will be written."""

    def add(self, tasks: Tensor, trial: Trajectory, action: Tensor, num_context: int) -> None:
        """Write the trials of some tasks; their context is from now on what is among the first episodes of these.

        Args:
            tasks: [N] int64, all different.
            trial: N tasks with E lanes of K episodes of H steps, and their `ends`. K * E is at most the capacity.
            action: [N, K * H, E, A] as it is to be stored.
            num_context: episodes of each lane that are context, from the first on.
        """
        assert trial.ends is not None
        episodes = trial.ends.terminated.shape[1]

        def rows(x: Tensor) -> Tensor:
            """[N, K * H, E, ...] -> [N, K * E, H, ...]."""
            return x.unflatten(1, (episodes, -1)).transpose(2, 3).flatten(1, 2)

        steps = rows(torch.cat([trial.obs, action, trial.reward.unsqueeze(-1)], -1))
        last = torch.zeros_like(steps[:, :, :1])
        last[..., : self.sizes[0]] = trial.ends.obs.flatten(1, 2).unsqueeze(2)
        number = torch.arange(steps.shape[1], device=steps.device)
        slots = (self.next[tasks].unsqueeze(1) + number) % self.capacity  # [N, K * E]
        where = tasks.unsqueeze(1), slots
        self.steps[where] = torch.cat([steps, last], 2)
        self.length[where] = rows(trial.mask).sum(-1).long()
        self.terminated[where] = trial.ends.terminated.flatten(1, 2)
        self.context[tasks] = False
        self.context[where] = (number < num_context * trial.reward.shape[2]).expand(slots.shape)
        self.next[tasks] = (slots[:, -1] + 1) % self.capacity

    def sample(self, tasks: Tensor, size: int, generator: Generator, context: bool = False) -> Transitions:
        """`size` steps of each task [N], each as probable as any other, with replacement; of the context alone if so.

        Every one of these tasks must have episodes.
        """
        length = self.length[tasks]
        upto = (length * self.context[tasks] if context else length).cumsum(1)  # [N, C]
        drawn = torch.rand(len(tasks), size, generator=generator, device=upto.device)
        number = torch.minimum((drawn * upto[:, -1:]).long(), upto[:, -1:] - 1)  # a product may be rounded up
        episode = torch.searchsorted(upto, number, right=True)
        before = torch.cat([torch.zeros_like(upto[:, :1]), upto], 1).gather(1, episode)
        t = number - before
        row = tasks.unsqueeze(1)
        obs, action, reward = self.steps[row, episode, t].split(self.sizes, -1)
        ended = self.terminated[row, episode] & (t + 1 == length.gather(1, episode))
        next_obs = self.steps[row, episode, t + 1][..., : self.sizes[0]]
        return Transitions(obs, action, reward.squeeze(-1), next_obs, ended.to(reward.dtype))

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("steps", "length", "terminated", "context", "next")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Its episodes may have another length: a run can be evaluated with another horizon than that of its replay.

        Raises `ValueError` for the replay of another run.
        """
        for name, own in self.state_dict().items():
            found = state[name]
            if (found.dim(), found.shape[:2], found.shape[3:]) != (own.dim(), own.shape[:2], own.shape[3:]):
                raise ValueError(f"its {name} has the shape {list(found.shape)}, and {list(own.shape)} is right")
            setattr(self, name, found.clone())
