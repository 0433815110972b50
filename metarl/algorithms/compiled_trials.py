"""Trials of a policy with a memory whose steps are compiled: network, action and environment as one function."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from envs.contract import check_reset
from envs.core import Env
from envs.structs import Struct, tensors_of, with_tensors
from metarl.backend.compiled import compiled, other_parameters
from metarl.backend.cores import on_threads
from metarl.learning.rollout import Trajectory
from metarl.learning.stepping import Lanes, checked_step, play_step
from metarl.policies.mlp import StepInput
from metarl.policies.recurrent import Outputs, TrialNetwork

Step = Callable[..., Sequence[Tensor]]
WIDE = 2**23
"""Multiplications of a matrix product from which on all threads serve a step; with smaller ones they wait too often."""


@dataclass(frozen=True, eq=False)
class Kept(Struct):
    """What learning needs of a step."""

    action: Tensor  # [N, E] or [N, E, A]
    outputs: Outputs  # [N E, ...]


@dataclass(frozen=True, eq=False)
class Carried(Struct):
    """What the next step needs."""

    lanes: Lanes
    memory: Any  # of the network


class CompiledTrials:
    """Plays the trials of `RecurrentPPO.collect` on the CPU, by the same random numbers.

    Args:
        env: whose steps can be recorded (`Env.recordable`).
    """

    def __init__(self, env: Env, network: TrialNetwork, generator: Generator) -> None:
        self.env, self.network, self.generator = env, network, generator
        self.steps: dict[Hashable, tuple[Step | None, Any]] = {}

    def threads(self, num_lanes: int) -> int:
        """That serve a step of so many lanes."""
        widest = max((x.numel() for x in self.network.parameters() if x.dim() == 2), default=0)
        return torch.get_num_threads() if num_lanes * widest >= WIDE else 1

    @torch.no_grad()
    def play(self, task: Struct, num_envs: int, num_episodes: int) -> Trajectory | None:
        """A trial in each lane, with what the network gave; None, and nothing drawn, where steps cannot be compiled."""
        env, before, threads = self.env, self.generator.get_state(), self.threads(len(task) * num_envs)
        with on_threads(1):
            reset = check_reset(env, env.reset(task, num_envs, self.generator), len(task), num_envs)
            lanes = Lanes.start(env, *reset)
            yes, no = lanes.alive, ~lanes.alive
            carried = Carried(lanes, self.network.start(len(task) * num_envs))
        fixed, given, size = _plain(task), _plain(carried), len(tensors_of(lanes))
        run, kept = self.compiled([*fixed, yes, *given], task, carried, threads)
        if run is None:
            self.generator.set_state(before)
            return None
        columns = []
        with on_threads(threads):
            for t in range(num_episodes * env.horizon):
                first = yes if t % env.horizon == 0 else no
                if t > 0 and t % env.horizon == 0:
                    state, obs = env.reset(task, num_envs, self.generator)
                    lanes = dataclasses.replace(with_tensors(lanes, given[:size]), state=state, obs=obs, alive=yes)
                    given = [*_plain(lanes), *given[size:]]
                seen, alive = given[0], given[size - 1]
                found = run(*fixed, first, *given)
                given, rest = list(found[: len(given)]), found[len(given) :]
                columns.append((seen, alive, given[size - 2], *rest))
        return self.trajectory(columns, kept, num_envs)

    def step(self, task: Struct, carried: Carried, first: Tensor) -> tuple[Kept, Carried]:
        found: list[tuple[Outputs, Any]] = []

        def act(inputs: StepInput, state: Any, memory: Any) -> tuple[Tensor, Any]:
            outputs, memory = self.network.step(inputs.map(lambda x: x.flatten(0, 1)), memory)
            found.append((outputs, memory))
            return self.network.distribution(outputs).sample(self.generator).unflatten(0, first.shape), memory

        step = checked_step(self.env, *first.shape)
        action, _, lanes, memory = play_step(step, act, task, carried.lanes, first, carried.memory, self.generator)
        return Kept(action, found[0][0]), Carried(lanes, memory)

    def compiled(self, given: list[Tensor], task: Struct, carried: Carried, threads: int) -> tuple[Step | None, Any]:
        """`step` from the tensors of the task, `first` and those carried to those carried and kept; and a `Kept`."""
        key = tuple((x.shape, x.dtype) for x in given)
        if key not in self.steps:
            count = len(tensors_of(task))
            like: list[Kept] = []

            def function(*tensors: Tensor) -> list[Tensor]:
                own, first, rest = tensors[:count], tensors[count], tensors[count + 1 :]
                kept, after = self.step(with_tensors(task, own), with_tensors(carried, rest), first)
                if not like:
                    like.append(kept)
                return [*_plain(after), *_plain(kept)]

            state = self.generator.get_state()
            after = function(*given)[: len(given) - count - 1]
            self.generator.set_state(state)
            run = None
            if [x.shape for x in after] != [x.shape for x in given[count + 1 :]]:
                warnings.warn("Steps are not compiled, since the memory grows with the trial.", stacklevel=2)
            else:
                run = compiled(function, self.network, given, self.generator, threads)
            if run is not None and not self.agrees(run, function, given, count + 1):
                warnings.warn("Compiled steps differ from the plain ones, which are used.", stacklevel=2)
                run = None
            self.steps[key] = run, like[0]
        return self.steps[key]

    def agrees(self, run: Step, function: Step, given: list[Tensor], num_fixed: int) -> bool:
        """Are three steps the same, also with other parameters than those that the compiler saw?"""
        state = self.generator.get_state()
        with other_parameters(self.network):
            for _ in range(3):
                before = self.generator.get_state()
                right = function(*given)
                self.generator.set_state(before)
                found = run(*given)
                if not all(torch.allclose(x, y, 1e-3, 1e-4) for x, y in zip(found, right, strict=True)):
                    return False
                given = [*given[:num_fixed], *right[: len(given) - num_fixed]]
        self.generator.set_state(state)
        return True

    def trajectory(self, columns: list[tuple[Tensor, ...]], like: Kept, num_envs: int) -> Trajectory:
        """Of observation, `alive` and reward of each step, and the tensors of `Kept`."""
        obs, alive, reward, *rest = (torch.stack(column, 1) for column in zip(*columns, strict=True))
        kept = with_tensors(like, rest)
        first = torch.zeros_like(alive)
        first[:, :: self.env.horizon] = True
        outputs = kept.outputs.map(lambda x: x.unflatten(0, (-1, num_envs)).transpose(1, 2))
        return Trajectory(obs.flatten(3), kept.action, reward, alive.to(reward.dtype), first, outputs=outputs)


def _plain(struct: Struct) -> list[Tensor]:
    """Its tensors without gaps, as a compiled step takes and returns them."""
    return [x.contiguous() for x in tensors_of(struct)]
