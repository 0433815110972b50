"""Multi-task PPO and fine-tuned PPO, by Stable-Baselines3 (Raffin et al. 2021; Schulman et al. 2017).

What a practitioner would do without meta-learning: train one policy on all tasks, then fine-tune a copy of it on each
new task. With `informed` the policy is told the task (an oracle); without meta-iterations it is trained from scratch.
"""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from gymnasium import spaces
from torch import Generator, Tensor

from envs.contract import family_name
from envs.core import Env
from envs.errors import require
from envs.fields import Fraction, NonNegativeFloat, PositiveCoefficient, PositiveInt
from envs.flat_images import flat_images
from envs.kinds import in_words
from envs.structs import Struct
from metarl.algorithms.base import Algorithm, AlgorithmConfig, Setup, Stages, check_tensors
from metarl.algorithms.sb3_learner import SB3Learner, draw_seed, global_streams
from metarl.algorithms.sb3_task_policy import FinetunedPolicy
from metarl.backend.errors import NonFiniteError
from metarl.learning.rollout import Play, Trajectory
from metarl.policies.mlp import MLPConfig


@dataclass(frozen=True)
class SB3PPOConfig(AlgorithmConfig):
    """PPO of Stable-Baselines3 on the episodes of all tasks, then on those of each task alone."""

    several_processes = False

    informed: bool = False
    """Tell the policy the task, appended to its observation."""
    lr: PositiveCoefficient = 1e-3
    """Adam's learning rate in training on all tasks."""
    epochs: PositiveInt = 4
    """Passes over the episodes of a meta-iteration."""
    minibatches: PositiveInt = 16
    """Minibatches in a pass, in training and in fine-tuning, but none of fewer than 64 steps."""
    finetune_lr: PositiveCoefficient = 3e-3
    """Adam's learning rate in fine-tuning on one task, and in training from scratch."""
    finetune_epochs: PositiveInt = 5
    """Passes over the episodes of a round of fine-tuning."""
    clip: PositiveCoefficient = 0.2
    """Likelihood ratios count up to 1 ± this."""
    gamma: Fraction = 0.99
    """Discount."""
    gae_lambda: Fraction = 0.95
    """Bias-variance trade-off of the advantages; 1 gives Monte Carlo returns minus the value function."""
    value_coef: NonNegativeFloat = 0.5
    """Weight of the value function's error."""
    entropy_coef: NonNegativeFloat = 0.0
    """Weight of the policy's entropy."""
    max_grad_norm: PositiveCoefficient = 0.5
    """Gradients are scaled down to this norm."""
    reward_scale: PositiveCoefficient = 1.0
    """PPO learns from rewards multiplied by this, because its value function needs returns of about 1 to 10."""

    def make(self, setup: Setup) -> SB3PPO:
        policy = setup.mlp_config(SB3PPO.name)
        require(policy.context_size == 0, "SB3's PPO has no context vector to adapt; leave context_size out.")
        return SB3PPO(self, setup.env, policy, setup.generator)

    def ppo(self, finetune: bool) -> dict[str, Any]:
        """The options of a `SB3Learner`."""
        return {
            "minibatches": self.minibatches,
            "reward_scale": self.reward_scale,
            "learning_rate": self.finetune_lr if finetune else self.lr,
            "n_epochs": self.finetune_epochs if finetune else self.epochs,
            "clip_range": self.clip,
            "gamma": self.gamma,
            "gae_lambda": self.gae_lambda,
            "vf_coef": self.value_coef,
            "ent_coef": self.entropy_coef,
            "max_grad_norm": self.max_grad_norm,
        }

    @property
    def rounds(self) -> int:
        return 1

    @property
    def smaller_steps(self) -> str:
        return f"--lr {self.lr / 2:g}"


def check_sb3() -> None:
    """Raise `InputError` unless Stable-Baselines3 is installed."""
    require(
        find_spec("stable_baselines3") is not None, "Stable-Baselines3 is missing here; install metarl-toolkit[sb3]."
    )


class SB3PPO(Algorithm):
    """Holds the `parameters` of an SB3 PPO, as its `get_parameters` gives them: networks and optimizer.

    A stage of `play` is a round of fine-tuning, on as many episodes as a gradient step of the other methods uses.
    """

    name = "SB3PPO"
    tasks_at_a_time = 1  # each takes seconds

    def __init__(self, config: SB3PPOConfig, env: Env, policy: MLPConfig, generator: Generator) -> None:
        check_sb3()
        space = env.action_space
        bounded = not isinstance(space, spaces.Box) or space.is_bounded()
        require(
            bounded,
            f"Stable-Baselines3 needs bounds of actions, and {family_name(env)}.action_space is {in_words(space)}.",
        )
        from envs.adapters.sb3 import TaskVecEnv
        from metarl.algorithms.sb3_convert import make_ppo

        self.config, self.policy_config, self.generator = config, policy, generator
        self.informed = config.informed
        with global_streams(generator), warnings.catch_warnings(action="ignore"):  # it runs on a GPU, too
            seen = self.seen(env)
            fresh = make_ppo(TaskVecEnv(flat_images(seen), 1), policy, seen.observation_space, device=env.device)
        self.parameters = fresh.get_parameters()
        self.learning: SB3Learner | None = None

    @property
    def params(self) -> Tensor:
        """Parameters of the policy and the value network in one vector [P]."""
        return torch.cat([x.detach().flatten() for x in self.parameters["policy"].values()])

    def learner(
        self,
        env: Env,
        task: Struct,
        num_envs: int,
        generator: Generator,
        finetune: bool = False,
        keep_states: bool = False,
    ) -> SB3Learner:
        """A PPO on these tasks, with a copy of the parameters. Call it within `global_streams`."""
        options = self.config.ppo(finetune)
        seed = draw_seed(generator)
        made = SB3Learner(self.policy_config, self.seen(env), task, num_envs, seed, keep_states=keep_states, **options)
        made.model.set_parameters(copy.deepcopy(self.parameters))  # type: ignore[arg-type]  # Adam writes into its tensors
        return made

    def collect(self, env: Env, task: Struct, num_envs: int, generator: Generator) -> list[Trajectory]:
        """One round of episodes on all tasks, which `update` learns from."""
        with global_streams(generator):
            self.learning = self.learner(env, task, num_envs, generator)
            return [self.learning.collect()]

    def update(self, trajectories: list[Trajectory]) -> dict[str, float]:
        """PPO on what the last `collect` gathered. Returns metrics."""
        assert self.learning is not None, "collect comes first"
        with global_streams(self.generator):
            metrics = self.learning.train()
        self.parameters, self.learning = self.learning.model.get_parameters(), None
        return metrics

    def play(self, env: Env, num_envs: int, generator: Generator, stages: Stages, greedy: bool = False) -> Play:
        """Episodes before and after each round of fine-tuning, with a separate copy for each task."""
        require(not greedy, "Stable-Baselines3 collects episodes of sampled actions; leave --greedy out.")

        def play(task: Struct, keep_states: bool) -> list[Trajectory]:
            with global_streams(generator):
                rows = [
                    self._play_task(env, task[n : n + 1], num_envs, generator, stages.num_steps, keep_states)
                    for n in range(len(task))
                ]
            return [Trajectory.cat(list(stage)) for stage in zip(*rows, strict=True)]

        return play

    def _play_task(
        self, env: Env, task: Struct, num_envs: int, generator: Generator, num_steps: int, keep_states: bool
    ) -> list[Trajectory]:
        learner = self.learner(env, task, num_envs, generator, finetune=True, keep_states=keep_states)
        stages = [learner.collect()]
        for _ in range(num_steps):
            if math.isnan(learner.train()["value_loss"]):
                raise NonFiniteError("Fine-tuning met parameters that are not finite; a smaller finetune_lr may help.")
            stages.append(learner.collect())
        return stages

    def task_policy(self, env: Env, num_envs: int, num_steps: int, generator: Generator) -> FinetunedPolicy:
        """Rounds of fine-tuning, on episodes alone: a lane does not begin another one to fill up its horizon."""
        other = Generator(env.device).manual_seed(0)  # of fresh parameters, which do not stay
        with global_streams(other):
            learner = self.learner(env, env.sample_tasks(1, other), 2, other, finetune=True)
        return FinetunedPolicy(learner, self.config.minibatches, num_steps, generator)

    def state_dict(self) -> dict[str, Any]:
        return {"policy": self.parameters["policy"], "optimizer": self.parameters["policy.optimizer"]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        own, other = self.parameters["policy"], state["policy"]
        check_tensors(other, own)
        self.parameters, self.learning = {"policy": other, "policy.optimizer": state["optimizer"]}, None
