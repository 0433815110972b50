"""A policy on one task: it acts and adapts step by step, where someone else steps the environment.

`Algorithm.play` does the same for many tasks at once in an environment of `envs`; both compute the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from envs.errors import InputError, require
from envs.structs import Struct, tensors_of, with_tensors
from metarl.backend.errors import NonFiniteError
from metarl.learning.rollout import Adapter, Trajectory
from metarl.policies.distributions import Distribution
from metarl.policies.mlp import MLPPolicy, Policy, StepInput, StepNetwork


@dataclass(frozen=True, eq=False)
class Episode:
    """A finished episode of T steps."""

    obs: Tensor  # [T, O] before each step
    action: Tensor  # [T, A], or [T] when discrete, as drawn
    reward: Tensor  # [T]
    terminated: bool  # and not cut off by a time limit
    final_obs: Tensor | None  # [O] after the last step, where it is known


def trajectory(episodes: Sequence[Episode], horizon: int) -> Trajectory:
    """E episodes of one task as a rollout has them: [1, T, E, ...], padded with zeros to at least `horizon` steps."""
    num_steps = max(horizon, *(len(e.reward) for e in episodes))

    def joined(columns: list[Tensor]) -> Tensor:
        out = columns[0].new_zeros(1, num_steps, len(columns), *columns[0].shape[1:])
        for k, column in enumerate(columns):
            out[0, : len(column), k] = column
        return out

    mask = joined([torch.ones_like(e.reward) for e in episodes])
    first = torch.zeros_like(mask, dtype=torch.bool)
    first[:, 0] = True
    obs, action, reward = (joined([getattr(e, name) for e in episodes]) for name in ("obs", "action", "reward"))
    return Trajectory(obs, action, reward, mask, first)


class TaskPolicy(ABC):
    """Acts in E lanes on one task.

    Attributes:
        num_steps: gradient steps that it may take in all; None where it adapts as it acts, by its memory.
        steps_taken: of them.
        module: that holds its parameters, where one does.
    """

    module: nn.Module | None = None
    num_steps: int | None = None
    steps_taken: int = 0

    @abstractmethod
    def act(self, inputs: StepInput) -> Distribution:
        """Action distributions [1, E] of one step of each lane.

        Args:
            inputs: [1, E, ...]; at the start of a later episode the previous action and reward are those of the last
                step of the episode before.

        Raises:
            InputError: where a trial is longer than the policy was made for.
        """

    def step(self, inputs: StepInput, memory: Any) -> tuple[Distribution, Any]:
        """One step of a lane by tensors alone, as an exported graph has it.

        Args:
            inputs: [1, ...]; with a mask of 0, a step of the padding after an early end of an episode.
            memory: what the last step returned.

        Returns:
            An action distribution [1, 1] and the memory after it.
        """
        return self.act(inputs.map(lambda x: x.unsqueeze(0))), memory

    def remembered(self, lane: int) -> tuple[Any, int]:
        """The memory of a lane, a Struct [1, ...] or None, and how many steps it has seen, padding included."""
        return None, 0

    def to_sb3(self, env: Any, **options: Any) -> Any:
        """A PPO of Stable-Baselines3 on `env` that starts with this policy. Raises `InputError`."""
        raise InputError("A policy with a memory has no counterpart in SB3's PPO; choose a run with an MLP.")

    def learn(self, episodes: Sequence[Episode]) -> None:
        """Take a gradient step. Raises `NonFiniteError`, and stays as it was, when that leaves no policy to act by."""
        raise NotImplementedError

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """What acting and adapting changed: tensors, numbers, and lists and dicts of them."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""


class GradientPolicy(TaskPolicy):
    """A policy that adapts by the inner steps of its method.

    Args:
        params: [P] before adaptation.
        adapters: one for each gradient step.
        horizon: of the episodes that it was trained with.
        memory: what the first adapter is given.
    """

    def __init__(
        self, policy: Policy, params: Tensor, adapters: Sequence[Adapter], horizon: int, memory: Any = None
    ) -> None:
        self.policy, self.params, self.memory = policy, params.detach().unsqueeze(0), memory
        self.adapters, self.horizon, self.num_steps = adapters, horizon, len(adapters)

    def act(self, inputs: StepInput) -> Distribution:
        return self.policy.bind(self.params)(inputs, None)[0]

    def to_sb3(self, env: Any, **options: Any) -> Any:
        from metarl.algorithms.sb3_convert import policy_to_sb3

        if not isinstance(self.policy, MLPPolicy):
            raise InputError(
                "Only an MLP on vectors, without a context vector, has a counterpart in SB3's PPO; choose such a run."
            )
        return policy_to_sb3(self.policy, self.params[0], env, **options)

    def learn(self, episodes: Sequence[Episode]) -> None:
        adapt = self.adapters[self.steps_taken]
        params, memory = adapt(self.params, self.memory, trajectory(episodes, self.horizon))
        if not params.isfinite().all():
            raise NonFiniteError("A gradient step left parameters that are not finite; a smaller inner_lr may help.")
        self.params, self.memory, self.steps_taken = params, memory, self.steps_taken + 1

    def state_dict(self) -> dict[str, Any]:
        return {"params": self.params, "memory": tensors_of(self.memory), "steps_taken": self.steps_taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.params, self.steps_taken = state["params"], int(state["steps_taken"])
        self.memory = with_tensors(self.memory, state["memory"])


class MemoryPolicy(TaskPolicy):
    """A policy that adapts by what it remembers of its trial: the lanes have a memory each.

    Training let every episode take `horizon` steps, of which those after its end were padding. So here an episode that
    ended earlier is padded before the next one starts.

    Args:
        start: the memory [E, ...] of all lanes, where trials do not all start alike.
    """

    def __init__(self, network: StepNetwork, num_envs: int, start: Struct | None = None) -> None:
        self.network = network
        self.module = network if isinstance(network, nn.Module) else None
        self.memories: list[Any] = [None if start is None else start[k : k + 1] for k in range(num_envs)]
        self.times = [0] * num_envs  # steps of the trial so far, padding included

    def act(self, inputs: StepInput) -> Distribution:
        rows = inputs[0]  # [E, ...]
        starts = rows.first.tolist()
        self._check_length(starts)
        padded = torch.zeros_like(rows.first)
        while ended := [k for k, start in enumerate(starts) if start and self.times[k] % self.network.horizon]:
            pad = _without_past(rows, padded)[ended]
            self._step(replace(pad, first=pad.first & False, mask=pad.mask * 0), ended)
            padded[ended] = True
        outputs = self._step(_without_past(rows, padded), range(len(starts)))
        return self.network.distribution(outputs.map(lambda x: x.unsqueeze(0)))

    def step(self, inputs: StepInput, memory: Any) -> tuple[Distribution, Any]:
        outputs, memory = self.network.step(inputs, memory)
        return self.network.distribution(outputs.map(lambda x: x.unsqueeze(0))), memory

    def remembered(self, lane: int) -> tuple[Any, int]:
        memory = self.memories[lane]
        return self.network.start(1) if memory is None else memory, self.times[lane]

    def _check_length(self, starts: list[bool]) -> None:
        horizon, most = self.network.horizon, self.network.num_steps
        for t, start in zip(self.times, starts, strict=True):
            require(
                start or t % horizon > 0,
                f"This episode is longer than the {horizon} steps of those that the policy was trained with.",
            )
            require(
                -(-t // horizon) * horizon < most or not start,
                f"A trial of this policy has {most // horizon} episodes of at most {horizon} steps, and they are over; "
                "begin() starts a new trial.",
            )

    def _step(self, rows: StepInput, lanes: Sequence[int]) -> Any:
        """One step of some lanes: rows [L, ...]. Lanes that are equally far are computed together."""
        groups: dict[int, list[int]] = {}
        for row, lane in enumerate(lanes):
            groups.setdefault(self.times[lane], []).append(row)
        parts = []
        for t, group in groups.items():
            past = [self.memories[lanes[row]] for row in group]
            outputs, memory = self.network.step(rows[group], type(past[0]).cat(past) if past[0] is not None else None)
            parts.append(outputs)
            for k, row in enumerate(group):
                self.memories[lanes[row]], self.times[lanes[row]] = memory[k : k + 1], t + 1
        order = torch.tensor([row for group in groups.values() for row in group])
        return type(parts[0]).cat(parts)[order.argsort()]

    def state_dict(self) -> dict[str, Any]:
        return {"memories": [tensors_of(memory) for memory in self.memories], "times": list(self.times)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        like = self.network.start(1)
        self.times = [int(t) for t in state["times"]]
        self.memories = [with_tensors(like, memory) if memory else None for memory in state["memories"]]


def _without_past(rows: StepInput, lanes: Tensor) -> StepInput:
    """Rows whose previous step, in `lanes` [E] bool, was padding."""
    action = torch.where(lanes.view(-1, *[1] * (rows.prev_action.dim() - 1)), 0, rows.prev_action)
    return replace(rows, prev_action=action, prev_reward=torch.where(lanes, 0.0, rows.prev_reward))
