"""Random tabular MDPs: a few states and actions whose transitions and rewards are unknown.

The distribution is that of Duan et al. 2016 (RL²), section 3.2, after Osband et al. 2013: transition rows
~ Dirichlet(1), mean rewards ~ N(1, 1), rewards with unit noise, episodes of 10 steps from state 0. The observation is
the state, one-hot.
References, in `envs.tabular.references`: exact planning on the true MDP, and posterior sampling (PSRL).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor

from envs.core import Env, Reference, StepResult, fresh_splits
from envs.errors import InputError, require
from envs.tabular.dirichlet import sample_dirichlet, sample_uniform_simplex
from envs.tabular.references import make_references
from envs.tabular.render import draw
from envs.tabular.task import State, TabularConfig, Task


class Tabular(Env[Task, State]):
    """Random tabular MDPs. obs [N, E, S]: the state, one-hot. action [N, E]: a whole number below A. Never ends."""

    task_type = Task
    oracle = "value iteration"

    def __init__(self, config: TabularConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.horizon = config.horizon
        s, a = config.num_states, config.num_actions
        self.observation_space = spaces.Box(0.0, 1.0, (s,), np.float32)
        self.action_space = spaces.Discrete(a)
        self.task_space = spaces.Dict(
            transition=spaces.Box(0.0, 1.0, (s, a, s), np.float32),
            reward_mean=spaces.Box(-100.0, 100.0, (s, a), np.float32),
        )
        train, ood = (f"transition rows ~ Dirichlet({c:g})" for c in (config.concentration, config.concentration / 10))
        self.splits = fresh_splits(
            f"{train}, mean rewards ~ N(1, 1)", f"{ood}: an action leads to fewer states; mean rewards ~ N(1, 1)"
        )
        self._one_hot = torch.eye(s, device=device)

    def sample_tasks(self, n: int, generator: Generator, split: str = "train") -> Task:
        self.check_split(split)
        require(n >= 1, f"The number of tasks must be at least 1, not {n}.")
        s, a = self.config.num_states, self.config.num_actions
        concentration = self.config.concentration / (10 if split == "ood" else 1)
        prior = torch.full((n, s, a, s), concentration, device=self.device)
        transition = (sample_uniform_simplex if concentration == 1 else sample_dirichlet)(prior, generator)
        return Task(transition, 1 + torch.randn(n, s, a, generator=generator, device=self.device))

    def _check_task(self, task: Mapping[str, Any]) -> dict[str, np.ndarray]:
        row = super()._check_task(task)
        total = row["transition"].sum(-1)
        state, action = np.unravel_index(np.abs(total - 1).argmax(), total.shape)
        worst = total[state, action]
        if abs(worst - 1) > 1e-4:
            raise InputError(
                f"Each row of 'transition' must sum to 1, and that of state {state}, action {action} sums to {worst:g}."
            )
        return row

    def reset(self, task: Task, num_envs: int, generator: Generator) -> tuple[State, Tensor]:
        return self._start(torch.zeros(len(task), num_envs, dtype=torch.int64, device=self.device))

    def any_states(self, task: Task, num_envs: int, generator: Generator) -> tuple[State, Tensor]:
        """Uniform over the states."""
        lanes = (len(task), num_envs)
        return self._start(torch.randint(self.config.num_states, lanes, generator=generator, device=self.device))

    def _start(self, index: Tensor) -> tuple[State, Tensor]:
        """In states [N, E]."""
        return State(index, torch.full_like(index, -1), torch.zeros(index.shape, device=self.device)), self._observe(
            index
        )

    def _observe(self, index: Tensor) -> Tensor:
        return self._one_hot.index_select(0, index.flatten()).unflatten(0, index.shape)

    def step(self, task: Task, state: State, action: Tensor, generator: Generator) -> StepResult[State]:
        s, a = self.config.num_states, self.config.num_actions
        shape = state.index.shape
        rows = torch.arange(0, len(task) * s, s, device=self.device)[:, None]
        cell = ((rows + state.index) * a + action).flatten()  # where (n, s, a) lies in the task
        # Inverse of the cumulative distribution; rounding may leave its last value below 1, hence the clamp.
        cumulative = task.transition.flatten(0, 2).index_select(0, cell).cumsum(-1)  # [N * E, S]
        uniform = torch.rand(shape, generator=generator, device=self.device).view(-1, 1)
        index = torch.searchsorted(cumulative, uniform, right=True).clamp_(max=s - 1).view(shape)
        noise = torch.randn(shape, generator=generator, device=self.device)
        mean = task.reward_mean.flatten().index_select(0, cell).view(shape)
        reward = mean.add(noise, alpha=self.config.reward_noise)
        terminated = torch.zeros(shape, dtype=torch.bool, device=self.device)
        return StepResult(State(index, action, state.total + reward), self._observe(index), reward, terminated)

    def references(self) -> dict[str, Reference]:
        return {"random": Reference(self.random_actions), **make_references(self.config)}

    def render(self, task: Task, episode: State, earlier: Sequence[State] = (), size: int = 480) -> np.ndarray:
        return draw(task, episode, earlier, size, self.config)
