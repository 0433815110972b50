"""Trials of a policy with a memory: how it acts in them, and what they are as stages of adaptation."""

from __future__ import annotations

from typing import Any

from torch import Generator, Tensor

from envs.core import Env
from envs.errors import require
from envs.structs import Struct
from metarl.algorithms.base import Stages
from metarl.backend.traced import traced_step
from metarl.learning.rollout import Actor, Play, Trajectory, rollout
from metarl.policies.mlp import StepInput, StepNetwork
from metarl.policies.recurrent import Outputs


def trial_stages(what: str, num_episodes: int, num_steps: int | None) -> Stages:
    """The episodes of a trial. Raises `InputError` where gradient steps are asked for of what takes none."""
    require(
        num_steps is None,
        f"{what} adapts in the episodes of its trial and takes no gradient steps; leave --num-steps out.",
    )
    return Stages(num_episodes=num_episodes)


def play_trials(
    env: Env, network: StepNetwork, num_envs: int, generator: Generator, num_episodes: int, greedy: bool = False
) -> Play:
    """Plays a trial in each lane."""

    def play(task: Struct, keep_states: bool) -> list[Trajectory]:
        act = actor(network, generator, greedy)
        return [rollout(env, act, task, num_envs, generator, num_episodes, keep_states=keep_states)]

    return play


def actor(
    network: StepNetwork,
    generator: Generator,
    greedy: bool = False,
    traced: bool = True,
    outputs: list[Outputs] | None = None,
) -> Actor:
    """Acts with a memory kept throughout the trial; actions are sampled or, if `greedy`, the most probable ones.

    The rollout's memory is None, or (0, the network's) at the start of a trial.

    `traced`: by `traced_step`, which is for the CPU and reads the shapes of tensors as it records.
    `outputs`: gets the network's outputs [B, ...] of each step.
    """

    step = traced_step(network) if traced else network.step

    def act(inputs: StepInput, state: Any, memory: Any) -> tuple[Tensor, Any]:
        t, memory = (0, None) if memory is None else memory
        network.check_length(t + 1)
        found, memory = step(inputs.map(lambda x: x.flatten(0, 1)), memory)
        if outputs is not None:
            outputs.append(found)
        distribution = network.distribution(found)
        action = distribution.mode() if greedy else distribution.sample(generator)
        return action.unflatten(0, inputs.obs.shape[:2]), (t + 1, memory)

    return act
