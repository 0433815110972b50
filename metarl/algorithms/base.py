"""Algorithm: what training, evaluation, videos, diagnosis and the command line need to know about a method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Generator, Tensor
from torch.optim import Optimizer

import envs
from envs.core import Env
from envs.errors import InputError
from envs.fields import Checked
from envs.structs import Struct
from metarl.algorithms.task_policy import GradientPolicy, TaskPolicy
from metarl.backend.cuda_graphs import Graphs
from metarl.learning.advantage import ValueFunction
from metarl.learning.rollout import Adapter, Play, Trajectory
from metarl.policies.encoders import policy_for
from metarl.policies.mlp import MLPConfig, MLPPolicy, Policy, StepInput
from metarl.policies.recurrent import MemoryConfig, TrialNetwork

PolicyConfig = MLPConfig | MemoryConfig


@dataclass(frozen=True)
class Stages:
    """The stages in which a method adapts to a task: before and after gradient steps, or the episodes of a trial.

    Attributes:
        num_steps: gradient steps; a trial has none.
        num_episodes: in a trial; 0 where the stages are no trial.
    """

    num_steps: int = 0
    num_episodes: int = 0

    @property
    def trial(self) -> bool:
        """Do the stages follow each other within a trial?"""
        return self.num_episodes > 0

    @property
    def unit(self) -> str:
        """What is counted, in the plural."""
        return "episodes" if self.trial else "gradient steps"

    @property
    def episodes(self) -> int:
        """Episodes that a lane plays one after another: those of a trial, or 1."""
        return max(1, self.num_episodes)

    def __len__(self) -> int:
        return self.num_episodes or 1 + self.num_steps

    @property
    def names(self) -> list[str]:
        """Of the stages, for tables and videos."""
        if not self.trial:
            return [f"after {k} step{'s' * (k != 1)}" for k in range(len(self))]
        if len(self) == 1:
            return ["whole trial"]
        return [f"episode {k + 1}" for k in range(self.num_episodes)]

    def episodes_before(self, num_envs: int) -> list[int]:
        """How many episodes of experience on a task each stage comes after.

        A gradient step learns from all of the `num_envs` episodes that are played in a stage. A memory has seen the
        earlier episodes of its own trial alone.
        """
        return [k * (1 if self.trial else num_envs) for k in range(len(self))]


@dataclass(frozen=True, eq=False)
class InnerLearner:
    """How a method adapts by gradient steps at test time."""

    policy: Policy
    params: Tensor  # [P] before adaptation
    adapters: Callable[[int], list[Adapter]]
    """`(num_steps)`: one adapter for each gradient step."""
    step: Callable[[float, float | None], Adapter]
    """`(scale, inner_lr)`: the first step with its learning rates, or with `inner_lr` if given, times `scale`."""
    inner_lr: float
    """The inner learning rate; for learned ones, their mean magnitude."""
    num_trained_steps: int
    """Gradient steps in training."""
    value: ValueFunction | None
    """The learned baseline; without one, it is fitted to each task's returns."""
    memory: Any = None
    """What the first adapter is given beside the parameters: a Struct [1, ...], or None."""


class Algorithm(ABC):
    """A method. Attributes say what it cannot do; nothing outside its file asks for its class."""

    name: ClassVar[str]
    """In messages and JSON."""
    graphs: Graphs | None = None
    """Calls its functions of tensors; None where they cannot be captured as CUDA graphs."""
    network: TrialNetwork | None = None
    """The policy of a method that adapts in the episodes of a trial."""
    informed: bool = False
    """Is the policy told the task?"""
    tasks_at_a_time: ClassVar[int | None] = None
    """Tasks that `play` should be given at once, where something other than memory limits them."""

    @property
    @abstractmethod
    def params(self) -> Tensor:
        """Everything that training changes by gradients, in one vector [P]."""

    def seen(self, env: Env) -> Env:
        """The environment as the policy sees it."""
        return envs.informed(env) if self.informed else env

    @property
    def inner(self) -> InnerLearner | None:
        """How it adapts by gradient steps on a policy of this package; None where it does not."""
        return None

    @abstractmethod
    def collect(self, env: Env, task: Struct, num_envs: int, generator: Generator) -> list[Trajectory]:
        """Experience on tasks [N] to train on: a trajectory for each stage, or one of a whole trial.

        A method that trains on a fixed set of tasks plays N of these instead.
        """

    @abstractmethod
    def update(self, trajectories: list[Trajectory]) -> dict[str, float]:
        """Learn from what `collect` returned. Returns metrics."""

    def stages(self, num_steps: int | None = None) -> Stages:
        """The stages that `play` has for a number of gradient steps, by default 3.

        Raises:
            InputError: for steps that this method does not take.
        """
        return Stages(3 if num_steps is None else num_steps)

    @abstractmethod
    def play(self, env: Env, num_envs: int, generator: Generator, stages: Stages, greedy: bool = False) -> Play:
        """A function that plays these stages, for evaluation and videos.

        If `greedy`, the most probable actions are taken: throughout a trial, otherwise in the last stage alone. Raises
        `InputError` where that cannot be chosen.
        """

    def play_control(
        self, env: Env, num_envs: int, generator: Generator, trial: Trajectory, other: Tensor
    ) -> Play | None:
        """Plays as `play` does, but adapts to what was seen in `trial` on the task `other` [N] of each, to tell
        identifying a task from mere further experience; None where a method cannot."""
        return None

    def task_policy(self, env: Env, num_envs: int, num_steps: int, generator: Generator) -> TaskPolicy:
        """The policy on one task, for those who step the environment themselves: what `play` does there.

        Args:
            env: whose spaces and horizon the task has.
            num_envs: episodes that are played at once.
            num_steps: gradient steps to adapt by, as in `Stages`.
            generator: of chance in those steps.

        Raises:
            InputError: where a method cannot.
        """
        inner = self.inner
        if inner is None:
            raise InputError(f"{self.name} only plays in environments of envs; evaluate it there.")
        return GradientPolicy(inner.policy, inner.params, inner.adapters(num_steps), env.horizon, inner.memory)

    def attention(self, inputs: StepInput) -> Tensor | None:
        """Attention [N, T, T] of each step of trials [N, T, ...] to each earlier step; None without attention."""
        return None

    def held(self, env: Env, num_tasks: int) -> tuple[int, str]:
        """Bytes that a meta-iteration on so many tasks holds beside trajectories and parameters, at least; and what
        they are, for a sentence."""
        return 0, ""

    def belief(self, inputs: StepInput) -> Tensor | None:
        """Mean and standard deviation of the belief about the task after each step of trials [N, T, ...],
        [N, 2, T, L]; None without one."""
        return None

    def compile(self) -> None:
        """Compile the policy for training. Raises `InputError` where that does not help."""
        raise InputError(
            "--compile is for policies with a memory that PPO trains (metanet, rl2, varibad); leave it out."
        )

    def compile_acting(self) -> None:
        """Compile how the policy acts to train. Raises `InputError` where that does not help."""
        raise InputError(
            "--compile-acting is for policies with a memory that PPO trains (metanet, rl2, varibad); leave it out."
        )

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that training changes."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned. Raises `ValueError` if it belongs to another policy."""


@dataclass(frozen=True)
class Setup:
    """What a method is made from.

    Attributes:
        num_iterations: meta-iterations of the run, for schedules.
        num_shards: equal parts of a meta-batch, spread over the processes.
        start: a policy whose `init` gives the first parameters, instead of the one that `policy` describes.
        tasks: that training is to draw from, instead of the split train.
    """

    env: Env
    policy: PolicyConfig
    generator: Generator
    num_iterations: int = 1
    num_shards: int = 1
    start: MLPPolicy | None = None
    tasks: Struct | None = None

    def mlp_config(self, method: str) -> MLPConfig:
        """The configuration of the policy, if it is an MLP. Raises `InputError`."""
        if not isinstance(self.policy, MLPConfig):
            raise InputError(
                f"{method} adapts an MLPConfig by gradient steps, and a {type(self.policy).__name__} adapts by its "
                "memory; train it with a RecurrentPPOConfig."
            )
        return self.policy

    def mlp(self, method: str) -> Policy:
        """The policy of a method that adapts an MLP, after an encoder where it sees no vectors. Raises `InputError`."""
        config = self.mlp_config(method)
        return self.start or policy_for(self.env, config)


class AlgorithmConfig(Checked, ABC):
    """The options of a method, and how to make it from them."""

    several_processes: ClassVar[bool] = True
    """Can processes share a meta-batch?"""
    takes_a_policy: ClassVar[bool] = False
    """Can training start from a given MLP policy?"""
    params_per_task: ClassVar[bool] = False
    """Does each task of a meta-batch have its own parameters?"""
    pretrain_iterations: int = 0
    """Initial meta-iterations without adaptation."""
    entropy_coef: float
    """Weight of the policy's entropy."""

    @abstractmethod
    def make(self, setup: Setup) -> Algorithm:
        """The method with fresh parameters.

        Raises:
            InputError: when the method does not suit the policy or the environment.
        """

    @property
    @abstractmethod
    def rounds(self) -> int:
        """Consecutive rounds of episodes that a meta-iteration plays on a task."""

    def most_episodes(self, num_envs: int) -> int:
        """Episodes on a task in a meta-iteration, at most, where a round has `num_envs`."""
        return self.rounds * num_envs

    def num_played(self, num_tasks: int) -> int:
        """Of the tasks of a meta-batch, those on which episodes are played."""
        return num_tasks

    @property
    @abstractmethod
    def smaller_steps(self) -> str:
        """Command-line options for training steps of half the size."""


def check_num_parameters(found: Tensor, expected: Tensor) -> None:
    """Raise `ValueError` unless a checkpoint's parameters fit."""
    if found.shape != expected.shape:
        raise ValueError(f"it holds {found.numel()} parameters, the policy has {expected.numel()}")


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """The same for the tensors of a module, by name."""
    if found.keys() != expected.keys():
        raise ValueError("it is a checkpoint of another kind of policy")
    for name, tensor in expected.items():
        here, right = list(found[name].shape), list(tensor.shape)
        if here != right:
            raise ValueError(f"its {name} has the shape {here}, and here {right} is right")


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Moments and steps of a checkpoint; settings stay this run's, since those of another device may differ."""
    optimizer.load_state_dict({**state, "param_groups": optimizer.state_dict()["param_groups"]})
