"""Contextual bandit: C contexts come again and again, and in each one of K arms is the best.

In each step a context is drawn uniformly and seen. A policy must bind contexts to arms, rewards and the lack of them:
the number of contexts is the load on its memory. After the contextual bandits of Ritter et al. 2018, which cue arms by
patterns of bits; here the best arms are independent and a context is one-hot, so that what counts is only memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor

from envs.contextual_bandit.references import make_references
from envs.contextual_bandit.render import draw
from envs.contextual_bandit.task import ContextualBanditConfig, State, Task
from envs.core import Env, Reference, StepResult, fresh_splits
from envs.errors import require


class ContextualBandit(Env[Task, State]):
    """Contextual bandit. obs [N, E, C]: the context, one-hot. action [N, E]: the arm to pull."""

    task_type = Task
    oracle = "told the best arms"

    def __init__(self, config: ContextualBanditConfig, device: torch.device) -> None:
        self.config, self.device, self.horizon = config, device, config.horizon
        self.observation_space = spaces.Box(0.0, 1.0, (config.num_contexts,), np.float32)
        self.action_space = spaces.Discrete(config.num_arms)
        self.task_space = spaces.Dict(best=spaces.MultiDiscrete([config.num_arms] * config.num_contexts))
        self._one_hot = torch.eye(config.num_contexts, device=device)
        train = f"the best of {config.num_arms} arms, uniform and independent in each of {config.num_contexts} contexts"
        self.splits = fresh_splits(train)

    def sample_tasks(self, n: int, generator: Generator, split: str = "train") -> Task:
        self.check_split(split)
        require(n >= 1, f"The number of tasks must be at least 1, not {n}.")
        shape = n, self.config.num_contexts
        return Task(torch.randint(self.config.num_arms, shape, generator=generator, device=self.device))

    def reset(self, task: Task, num_envs: int, generator: Generator) -> tuple[State, Tensor]:
        context = self._draw_contexts(torch.Size((len(task.best), num_envs)), generator)
        state = State(context, torch.full_like(context, -1), torch.zeros(context.shape, device=self.device))
        return state, self._observe(context)

    def _draw_contexts(self, lanes: torch.Size, generator: Generator) -> Tensor:
        return torch.randint(self.config.num_contexts, lanes, generator=generator, device=self.device)

    def _observe(self, context: Tensor) -> Tensor:
        return self._one_hot.index_select(0, context.flatten()).unflatten(0, context.shape)

    def step(self, task: Task, state: State, action: Tensor, generator: Generator) -> StepResult[State]:
        p = torch.where(task.best.gather(1, state.context) == action, self.config.p_best, self.config.p_other)
        reward = (torch.rand(p.shape, generator=generator, device=self.device) < p).float()
        context = self._draw_contexts(action.shape, generator)
        terminated = torch.zeros_like(action, dtype=torch.bool)
        return StepResult(State(context, action, reward), self._observe(context), reward, terminated)

    def references(self) -> dict[str, Reference]:
        return {"random": Reference(self.random_actions), **make_references(self.config)}

    def render(self, task: Task, episode: State, earlier: Sequence[State] = (), size: int = 480) -> np.ndarray:
        return draw(task, episode, earlier, size, self.config)
