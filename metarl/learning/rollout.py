"""rollout: episodes of every task in lock step. collect: rollouts with adaptation in between.

Training, evaluation, references and videos all use these two functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor

from envs.contract import check_reset
from envs.core import Env, Reference, Transition
from envs.structs import Struct
from metarl.backend.cores import on_threads
from metarl.learning.stepping import Actor, Lanes, checked_step, play_step, taken
from metarl.policies.mlp import Policy, StepInput

Observer = Callable[[Any, Transition], Any]
"""`(memory, transition) -> memory`, called after each step."""

CHUNK_STEPS = 20_000
"""Environment steps in a group of tasks. It affects speed and memory, and results only by rounding (docs/speed.md)."""
FEWEST_STEPS = 5_000
"""For several threads there are more and smaller groups, if they have this many steps; fewer are not worth a thread."""

SMALL_LANES = 1024
"""Largest number of lanes for which a rollout computes on one thread."""


@dataclass(frozen=True, eq=False)
class Ends(Struct):
    """How each episode ended."""

    obs: Tensor  # [N, num_episodes, E, O] after its last step of `horizon`
    terminated: Tensor  # [N, num_episodes, E] bool: by itself, and not cut off


@dataclass(frozen=True, eq=False)
class Trajectory(Struct):
    """Lock-step experience. Steps after an episode's termination are padding, where `mask` is 0."""

    obs: Tensor  # [N, T, E, O] before the step; images flattened, uint8
    action: Tensor  # [N, T, E, A], or [N, T, E] of a Discrete
    reward: Tensor  # [N, T, E], 0 where mask is 0
    mask: Tensor  # [N, T, E] float: 1 while the episode runs, its terminating step included
    first: Tensor  # [N, T, E] bool: does an episode start here?
    states: Struct | None = None  # [N, num_episodes, H + 1, E, ...] of the environment, where they were kept
    ends: Ends | None = None  # where they were kept
    outputs: Struct | None = None  # [N, T, E, ...] of a network with a memory that is to learn from these steps

    @property
    def returns(self) -> Tensor:
        """Undiscounted sum of rewards of each lane [N, E]."""
        return self.reward.sum(1)

    @property
    def num_steps(self) -> int:
        """Environment steps that it took."""
        return self.reward.numel()

    def episodes(self, horizon: int) -> list[Trajectory]:
        """The episodes of `horizon` steps that follow one another, each a trajectory."""
        steps, states = replace(self, states=None, ends=None), self.states
        return [
            replace(steps[:, k * horizon : (k + 1) * horizon], states=states and states[:, k : k + 1])
            for k in range(self.reward.shape[1] // horizon)
        ]

    @property
    def inputs(self) -> StepInput:
        """What the policy saw, [N, T, E, ...]."""
        action = taken(self.action, self.mask > 0)
        return StepInput(self.obs, _shift(action), _shift(self.reward), self.first, self.mask)


def task_slices(trajectory: Trajectory) -> list[slice]:
    """Groups of tasks to be processed one after another or by several threads; on the CPU few at a time."""
    n, horizon, num_envs = trajectory.reward.shape
    steps, on_cpu = horizon * num_envs, trajectory.reward.device.type == "cpu"
    count = -(-n // max(1, (CHUNK_STEPS if on_cpu else 100 * CHUNK_STEPS) // steps))
    if on_cpu:
        threads = torch.get_num_threads()
        count = max(count, min(-(-count // threads) * threads, n * steps // FEWEST_STEPS))  # as many for each thread
    size = -(-n // count)
    return [slice(start, start + size) for start in range(0, n, size)]


def _shift(x: Tensor) -> Tensor:
    """Each step's predecessor along T, zeros at the first."""
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)


def policy_actor(policy: Policy, params: Tensor, generator: Generator, greedy: bool = False) -> Actor:
    """Acts by sampling from the policy with `params` [N, P]; or by its most probable actions, if `greedy`."""
    network = policy.bind(params)

    def act(inputs: StepInput, state: Any, memory: Any) -> tuple[Tensor, Any]:
        distribution, memory = network(inputs, memory)
        return distribution.mode() if greedy else distribution.sample(generator), memory

    return act


def small_tensors_on_one_thread(lanes: int) -> AbstractContextManager[None]:
    """A context in which PyTorch computes on one thread when there are few lanes.

    Several threads gain nothing on such tensors, and keep their cores busy for a while after each product, when a
    physics engine needs them.
    """
    return on_threads(1 if lanes <= SMALL_LANES else torch.get_num_threads())


@torch.no_grad()
def rollout(
    env: Env,
    act: Actor,
    task: Struct,
    num_envs: int,
    generator: Generator,
    num_episodes: int = 1,
    memory: Any = None,
    keep_states: bool = False,
    observe: Observer | None = None,
    keep_ends: bool = False,
) -> Trajectory:
    """Run `num_episodes` consecutive episodes of `horizon` steps in `num_envs` lanes of each task.

    Args:
        act: chooses actions; see `policy_actor`.
        memory: passed to the first `act`; it persists across episodes.
        keep_states: keep the state before each step and at each episode's end, for a video.
        observe: updates the memory after each step; see `reference_rollout`.
        keep_ends: keep `Trajectory.ends`, for what learns from transitions.

    Returns:
        Trajectory with T = num_episodes * horizon.
    """
    with small_tensors_on_one_thread(len(task) * num_envs):
        steps: list[tuple[Tensor, ...]] = []
        kept: list[Struct] = []
        ends: list[Ends] = []
        shape = len(task), num_envs
        lanes = Lanes.start(env, *check_reset(env, env.reset(task, num_envs, generator), *shape))
        no, yes = ~lanes.alive, lanes.alive
        for t in range(num_episodes * env.horizon):
            first = yes if t % env.horizon == 0 else no
            if t > 0 and t % env.horizon == 0:
                if keep_states:
                    kept.append(lanes.state)
                state, obs = env.reset(task, num_envs, generator)
                lanes = replace(lanes, state=state, obs=obs, alive=yes)
            before, step = lanes, env.step if t else checked_step(env, *shape)
            action, result, lanes, memory = play_step(step, act, task, before, first, memory, generator)
            if keep_states:
                kept.append(before.state)
            if observe is not None:
                memory = observe(
                    memory, Transition(before.state, action, result.reward, result.state, result.terminated)
                )
            steps.append((before.obs.flatten(2), action, lanes.prev_reward, before.alive, first))
            if keep_ends and (t + 1) % env.horizon == 0:
                ends.append(Ends(lanes.obs.flatten(2), ~lanes.alive))
        states = None
        if keep_states:
            states = Struct.stack([*kept, lanes.state], 1).map(lambda x: x.unflatten(1, (num_episodes, -1)))
        obs_, action_, reward_, alive_, first_ = (torch.stack(column, 1) for column in zip(*steps, strict=True))
        mask = alive_.to(reward_.dtype)
        return Trajectory(obs_, action_, reward_, mask, first_, states, Ends.stack(ends, 1) if ends else None)


def reference_rollout(
    env: Env,
    reference: Reference,
    task: Struct,
    num_envs: int,
    generator: Generator,
    num_episodes: int = 1,
    keep_states: bool = False,
) -> Trajectory:
    """`rollout` of a reference policy: a trial of `num_episodes` episodes in each lane."""
    return rollout(
        env,
        lambda inputs, state, memory: (reference.act(task, state, memory, generator), memory),
        task,
        num_envs,
        generator,
        num_episodes,
        reference.start(task, num_envs, generator),
        keep_states,
        observe=lambda memory, transition: reference.observe(task, memory, transition),
    )


Adapter = Callable[[Tensor, Any, Trajectory], tuple[Tensor, Any]]
"""`(params [N, P], memory, trajectory) -> (params [N, P], memory)`, pure."""

Play = Callable[[Any, bool], list[Trajectory]]
"""`(task [N], keep_states) -> trajectories`: plays on tasks and adapts, stage by stage. The episodes of a trial are one
trajectory."""


def collect(
    env: Env,
    policy: Policy,
    params: Tensor,
    task: Struct,
    adapters: Sequence[Adapter],
    num_envs: int,
    generator: Generator,
    keep_states: bool = False,
    greedy: bool = False,
) -> list[Trajectory]:
    """Roll out, adapt, roll out again, starting from `params` [P] or [N, P]; one adaptation step for each adapter.

    If `greedy`, the last rollout takes the most probable actions; adaptation learns from sampled ones.

    Returns len(adapters) + 1 trajectories; entry k was collected after k adaptation steps.
    """
    params, memory = params.detach().expand(len(task), -1), None
    trajectories: list[Trajectory] = []
    for k, adapt in enumerate((None, *adapters)):
        if adapt is not None:
            params, memory = adapt(params, memory, trajectories[-1])
        act = policy_actor(policy, params, generator, greedy and k == len(adapters))
        trajectories.append(rollout(env, act, task, num_envs, generator, keep_states=keep_states))
    return trajectories


def player(
    env: Env,
    policy: Policy,
    params: Tensor,
    adapters: Sequence[Adapter],
    num_envs: int,
    generator: Generator,
    greedy: bool = False,
) -> Play:
    """`collect` as a function of the tasks alone: before adaptation and after each adapter."""
    return lambda task, keep_states: collect(
        env, policy, params, task, adapters, num_envs, generator, keep_states, greedy
    )
