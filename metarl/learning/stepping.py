"""One step of every lane of a rollout, as a function of tensors: the policy acts, and the environment answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from envs.contract import check_action, check_step
from envs.core import Env, StepResult
from envs.kinds import action_dtype
from envs.structs import Struct
from metarl.policies.mlp import StepInput

Actor = Callable[[StepInput, Any, Any], tuple[Tensor, Any]]
"""`(inputs, state, memory) -> (action, memory)`. Only reference policies read the environment's state."""

Step = Callable[[Any, Any, Tensor, Generator], StepResult]
"""The `step` of an environment: `(task, state, action, generator) -> result`."""


@dataclass(frozen=True, eq=False)
class Lanes(Struct):
    """What a step needs of those before it."""

    obs: Tensor  # [N, E, ...]
    state: Any  # [N, E, ...] of the environment
    prev_action: Tensor  # [N, E, A] or [N, E], zeros where no episode ran
    prev_reward: Tensor  # [N, E]
    alive: Tensor  # [N, E] bool: does the episode still run?

    @classmethod
    def start(cls, env: Env, state: Any, obs: Tensor) -> Lanes:
        """At the beginning of a trial."""
        reward = torch.zeros(obs.shape[:2], device=obs.device)
        shape = obs.shape[:2] + (env.action_space.shape or ())
        action = torch.zeros(shape, dtype=action_dtype(env.action_space), device=obs.device)
        return cls(obs, state, action, reward, torch.ones_like(reward, dtype=torch.bool))

    def inputs(self, first: Tensor) -> StepInput:
        """What a policy sees, [N, E, ...]; `first` [N, E] bool: does an episode start here?"""
        alive = self.alive.to(self.prev_reward.dtype)
        return StepInput(self.obs.flatten(2), self.prev_action, self.prev_reward, first, alive)


def checked_step(env: Env, num_tasks: int, num_envs: int) -> Step:
    """The environment's step that first holds the action, then the result, to the contract. Raises `InputError`."""

    def step(task: Any, state: Any, action: Tensor, generator: Generator) -> StepResult:
        check_action(env, action, num_tasks, num_envs)
        result = env.step(task, state, action, generator)
        check_step(env, result, state, num_tasks, num_envs)
        return result

    return step


def play_step(
    step: Step, act: Actor, task: Struct, lanes: Lanes, first: Tensor, memory: Any, generator: Generator
) -> tuple[Tensor, StepResult, Lanes, Any]:
    """The action, what the environment returned, and lanes and memory after the step."""
    action, memory = act(lanes.inputs(first), lanes.state, memory)
    result = step(task, lanes.state, action, generator)
    reward = torch.where(lanes.alive, result.reward, 0.0)  # not a product: what follows an end may be NaN
    left = lanes.alive & ~result.terminated
    return action, result, Lanes(result.obs, result.state, taken(action, lanes.alive), reward, left), memory


def taken(action: Tensor, alive: Tensor) -> Tensor:
    """Actions, zeros where no episode ran: actions drawn there had no effect."""
    return torch.where(alive.view(*alive.shape, *[1] * (action.dim() - alive.dim())), action, 0)
