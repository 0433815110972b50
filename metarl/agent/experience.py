"""The episodes that a gradient step learns from, gathered step by step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from metarl.algorithms.task_policy import Episode


class Experience:
    """Episodes of E lanes since the last gradient step.

    A step learns from the first `quota` episodes of each lane, so that short episodes do not crowd out long ones, and
    only from those that began after the step before it: one policy acted in them.
    """

    def __init__(self, num_envs: int, quota: int) -> None:
        self.quota = quota
        self.running: list[list[tuple[Tensor, ...]] | None] = [None] * num_envs  # None: an episode that does not count
        self.finished: list[list[Episode]] = [[] for _ in range(num_envs)]

    def begin(self, first: Tensor) -> None:
        """An episode starts in the lanes `first` [E] bool."""
        for lane in torch.nonzero(first).flatten().tolist():
            self.running[lane] = [] if len(self.finished[lane]) < self.quota else None

    def add(self, obs: Tensor, action: Tensor, reward: Tensor) -> None:
        """A step of each lane: [E, ...]."""
        for lane, steps in enumerate(self.running):
            if steps is not None:
                steps.append((obs[lane], action[lane], reward[lane]))

    def end(self, lane: int, terminated: bool, final_obs: Tensor | None) -> None:
        """The episode of a lane is over."""
        steps, self.running[lane] = self.running[lane], None
        if steps:
            obs, action, reward = (torch.stack(column) for column in zip(*steps, strict=True))
            self.finished[lane].append(Episode(obs, action, reward, terminated, final_obs))

    @property
    def complete(self) -> bool:
        """Are there as many episodes as a gradient step needs?"""
        return all(len(episodes) == self.quota for episodes in self.finished)

    @property
    def episodes(self) -> list[Episode]:
        """Finished ones, lane by lane."""
        return [episode for lane in self.finished for episode in lane]

    def clear(self) -> None:
        """Forget them after a gradient step, with those that are running."""
        self.running, self.finished = [None] * len(self.running), [[] for _ in self.finished]

    def state_dict(self) -> dict[str, Any]:
        running = [None if steps is None else list(steps) for steps in self.running]
        return {"running": running, "finished": [[vars(e) for e in lane] for lane in self.finished]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.running = state["running"]
        self.finished = [[Episode(**e) for e in lane] for lane in state["finished"]]
