"""Rollouts of a policy without a memory on the CPU as loops of TorchScript: each thread plays a group of tasks.

With few lanes a step is some forty small operations. Calling them from Python takes longer than some of them, and its
lock keeps two threads from calling them at the same time. Here the random numbers of a rollout are drawn first, in the
order of `rollout`; then each thread repeats a traced step, without Python. The numbers are those of `rollout` to the
last bit.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from envs.core import Env
from envs.structs import Struct, tensors_of, with_tensors
from metarl.backend.cores import on_threads
from metarl.backend.draws import Given, draws_of
from metarl.backend.groups import each_group
from metarl.learning.stepping import Lanes, play_step
from metarl.policies.mlp import Policy, StepInput

SMALL_LANES = 1024
"""Largest number of lanes for which a rollout computes on one thread."""
FEWEST_LANES = 64
"""Fewer are not worth a trace, nor, in a group of tasks, a thread."""


class TracedRollout:
    """Plays in lanes of one shape.

    Attributes:
        calls: rollouts by plain steps.
        agrees: did traced steps give the same?
    """

    def __init__(self, env: Env, policy: Policy, num_envs: int) -> None:
        self.env, self.policy, self.num_envs, self.calls, self.agrees = env, policy, num_envs, 0, False
        self.draws: Sequence[Callable[[Generator], Tensor]] | None = None
        self.loops: dict[int, Any] = {}  # by the number of tasks

    def same(self, right: Sequence[Tensor], params: Tensor, task: Struct, generator: Generator) -> bool:
        """Does `play` give the same?"""
        try:
            found = self.play(params, task, generator)
        except Exception:  # of many classes, by what cannot be traced
            return False
        return all(torch.equal(x, y) for x, y in zip(found, right, strict=True))

    @torch.no_grad()
    def play(self, params: Tensor, task: Struct, generator: Generator) -> list[Tensor]:
        """obs [N, T, E, ...], action, reward, and whether episodes ran."""
        n, num_lanes = len(task), len(task) * self.num_envs
        threads = torch.get_num_threads()
        size = -(-n // max(1, min(threads, num_lanes // FEWEST_LANES)))
        groups = [slice(start, min(start + size, n)) for start in range(0, n, size)]
        with on_threads(threads if num_lanes > SMALL_LANES else 1):
            lanes = Lanes.start(self.env, *self.env.reset(task, self.num_envs, generator))
            if self.draws is None:
                self.draws = self.recorded(params, task, lanes, generator)
            numbers = [[draw(generator) for draw in self.draws] for _ in range(self.env.horizon)]
            for group in groups:
                if (count := group.stop - group.start) not in self.loops:
                    given = [x[group] for x in numbers[0]]
                    self.loops[count] = self.loop(params[group], task[group], lanes[group], given, generator)
        fixed, carried = [params, *tensors_of(task)], [lanes.obs, *tensors_of(lanes.state), lanes.alive]

        def work(group: slice) -> list[Tensor]:
            own = [x[group] for x in fixed], [x[group] for x in carried]
            with torch.jit.optimized_execution(False):  # its passes take longer than a rollout
                return self.loops[group.stop - group.start].forward(*own, numbers, group.start, group.stop)

        with on_threads(1 if len(groups) == 1 and num_lanes <= SMALL_LANES else threads):
            found = each_group(work, groups, params.device)
        return [torch.cat(column) for column in zip(*found, strict=True)]

    def step(self, params: Tensor, task: Struct, lanes: Lanes, generator: Generator) -> tuple[Tensor, Lanes]:
        network = self.policy.bind(params)

        def act(inputs: StepInput, state: Any, memory: Any) -> tuple[Tensor, Any]:
            distribution, memory = network(inputs, memory)
            return distribution.sample(generator), memory

        action, _, after, _ = play_step(self.env.step, act, task, lanes, lanes.alive, None, generator)
        return action, after

    def recorded(
        self, params: Tensor, task: Struct, lanes: Lanes, generator: Generator
    ) -> Sequence[Callable[[Generator], Tensor]]:
        """The draws of a step."""
        state = generator.get_state()
        draws = draws_of(lambda: self.step(params, task, lanes, generator), generator)
        generator.set_state(state)
        return draws

    def loop(self, params: Tensor, task: Struct, lanes: Lanes, given: list[Tensor], generator: Generator) -> Any:
        """The steps of a group of tasks, compiled."""
        count = len(tensors_of(lanes.state))

        def step(fixed: list[Tensor], carried: list[Tensor], numbers: list[Tensor]) -> list[Tensor]:
            state = with_tensors(lanes.state, carried[1 : count + 1])
            now = Lanes(carried[0], state, lanes.prev_action, lanes.prev_reward, carried[-1])
            with Given(generator, numbers):
                action, after = self.step(fixed[0], with_tensors(task, fixed[1:]), now, generator)
            return [action, after.prev_reward, after.obs, *tensors_of(after.state), after.alive]

        example = [params, *tensors_of(task)], [lanes.obs, *tensors_of(lanes.state), lanes.alive], given
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numbers of Python become constants, as they are for these shapes
            traced = torch.jit.trace(step, example, check_trace=False, strict=False)
            torch._C._jit_pass_peephole(traced.graph)  # sizes of tensors become constants
            torch._C._jit_pass_constant_propagation(traced.graph)
            torch._C._jit_pass_dce(traced.graph)
            return _hoisted(torch.jit.script(_Loop(traced)))


class _Loop(nn.Module):
    def __init__(self, step: Any) -> None:
        super().__init__()
        self.step = step

    def forward(
        self, fixed: list[Tensor], carried: list[Tensor], numbers: list[list[Tensor]], start: int, stop: int
    ) -> list[Tensor]:
        """Observations, actions, rewards and whether episodes ran, [N, T, E, ...], of the tasks from `start` to `stop`.

        Args:
            fixed: parameters and the tensors of the task.
            carried: observations, the tensors of the state, and whether episodes run.
            numbers: random ones of each step, of all tasks.
        """
        obs, action, reward, alive = [carried[0]], [carried[0]], [carried[0]], [carried[-1]]
        for given in numbers:
            found = self.step(fixed, carried, [x[start:stop] for x in given])
            action.append(found[0])
            reward.append(found[1])
            carried = found[2:]
            obs.append(carried[0])
            alive.append(carried[-1])
        return [torch.stack(x, 1) for x in (obs[:-1], action[1:], reward[1:], alive[:-1])]


def _hoisted(loop: Any) -> Any:
    """What is the same in all steps, such as views of the parameters, before the first one."""
    graph = loop.forward.graph
    torch._C._jit_pass_inline(graph)
    steps = graph.findNode("prim::Loop")
    (body,) = steps.blocks()
    varies = {value.debugName() for value in body.inputs()}
    for node in list(body.nodes()):
        changes = node.kind() in ("prim::ListConstruct", "aten::append") or node.kind().endswith("_")
        if changes or list(node.blocks()) or not varies.isdisjoint(value.debugName() for value in node.inputs()):
            varies |= {value.debugName() for value in node.outputs()}
        else:
            node.moveBefore(steps)
    return loop


@functools.lru_cache(maxsize=16)
def _traced(env: Env, policy: Policy, num_envs: int, shapes: tuple[Any, ...]) -> TracedRollout:
    return TracedRollout(env, policy, num_envs)


def traced_rollout(env: Env, policy: Policy, task: Struct, num_envs: int) -> TracedRollout:
    """The one for lanes of this shape, from its first call on."""
    return _traced(env, policy, num_envs, tuple((x.shape, x.dtype) for x in tensors_of(task)))
