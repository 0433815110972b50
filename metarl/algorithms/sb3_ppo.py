"""Multi-task PPO and fine-tuned PPO, by Stable-Baselines3 (Raffin et al. 2021; Schulman et al. 2017).

What a practitioner would do without meta-learning: train one policy on all tasks, then fine-tune a copy of it on each
new task. With `informed` the policy is told the task (an oracle); without meta-iterations it is trained from scratch.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor

import envs
from envs.contract import check_step, family_name
from envs.core import Env, StepResult
from envs.errors import require
from envs.fields import Fraction, NonNegativeFloat, PositiveCoefficient, PositiveInt
from envs.proxy import Proxy
from envs.structs import Struct
from metarl.algorithms.base import Algorithm, AlgorithmConfig, Setup, Stages, check_tensors
from metarl.backend.errors import NonFiniteError
from metarl.learning.rollout import Play, Trajectory, small_tensors_on_one_thread
from metarl.policies.mlp import MLPConfig

LEAST_MINIBATCH = 64


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
        return SB3PPO(self, setup.env, setup.mlp_config(SB3PPO.name), setup.generator)

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


@contextmanager
def global_streams(generator: Generator) -> Iterator[None]:
    """Within this context torch's and numpy's global random streams, from which SB3 draws, come from `generator`.

    Afterwards they are restored.
    """
    seed, device = draw_seed(generator), generator.device
    before = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002


def draw_seed(generator: Generator) -> int:
    return int(torch.randint(2**32, (), generator=generator, device=generator.device))


class Recorder(Proxy):
    """Scales rewards, and records the original ones and the states of the current round, which SB3 does not keep."""

    def __init__(self, env: Env, reward_scale: float, keep_states: bool) -> None:
        super().__init__(env)
        self.reward_scale, self.keep_states = reward_scale, keep_states
        self.rewards: list[Tensor] = []  # [L, 1] of each step; L lanes
        self.states: list[Any] = []  # [L, 1, ...] before the first step and after each

    def step(self, task: Struct, state: Any, action: Tensor, generator: Generator) -> StepResult:
        result = self.env.step(task, state, action, generator)
        if not self.rewards:
            check_step(self.env, result, state, *action.shape[:2])
        if self.keep_states:
            self.states += [result.state] if self.rewards else [state, result.state]
        self.rewards.append(result.reward)
        return StepResult(result.state, result.obs, result.reward * self.reward_scale, result.terminated)


class Learner:
    """A PPO of SB3 in `num_envs` lanes on each of N tasks: a round of episodes, `train`, a round of episodes, ..."""

    def __init__(
        self,
        config: SB3PPOConfig,
        policy: MLPConfig,
        env: Env,
        task: Struct,
        num_envs: int,
        seed: int,
        finetune: bool = False,
        keep_states: bool = False,
    ) -> None:
        from envs.adapters.sb3 import TaskVecEnv
        from metarl.algorithms.sb3_convert import make_ppo

        self.shape = len(task), num_envs
        lanes = len(task) * num_envs
        self.recorder = Recorder(env, config.reward_scale, keep_states)
        vec_env = TaskVecEnv(self.recorder, lanes, seed=seed)
        self.lanes = vec_env.lanes
        self.lanes.assign(task.map(lambda x: x.repeat_interleave(num_envs, 0)))
        steps = lanes * env.horizon
        require(steps > 1, "PPO needs at least two steps to learn from.")
        with warnings.catch_warnings(action="ignore"):  # of a smaller last minibatch, and of running on a GPU
            self.model = make_ppo(
                vec_env,
                policy,
                device=env.device,
                learning_rate=config.finetune_lr if finetune else config.lr,
                n_steps=env.horizon,
                batch_size=min(steps, max(LEAST_MINIBATCH, -(-steps // config.minibatches))),
                n_epochs=config.finetune_epochs if finetune else config.epochs,
                clip_range=config.clip,
                gamma=config.gamma,
                gae_lambda=config.gae_lambda,
                vf_coef=config.value_coef,
                ent_coef=config.entropy_coef,
                max_grad_norm=config.max_grad_norm,
            )

    def collect(self) -> Trajectory:
        """An episode of each lane.

        A lane whose episode terminates early continues with another one until the horizon. PPO learns from it, too; in
        the trajectory it is padding.
        """
        from metarl.algorithms.sb3_convert import collect_round

        self.recorder.rewards, self.recorder.states = [], []
        with small_tensors_on_one_thread(math.prod(self.shape)):
            try:
                collect_round(self.model)
            except ValueError:  # of torch's distributions, or of the adapter that is given their actions
                if bool(self.lanes.obs.isfinite().all()):
                    raise
                where = f"{family_name(self.recorder)}.reset() and step()"
                raise NonFiniteError(f"{where} must return finite numbers as obs, and they did not.") from None
        buffer, device = self.model.rollout_buffer, self.recorder.device

        def sorted_by_task(x: Any) -> Tensor:
            """[T, L, ...] -> [N, T, E, ...]"""
            return torch.as_tensor(x, device=device).unflatten(1, self.shape).transpose(0, 1)

        action = sorted_by_task(buffer.actions)
        if isinstance(self.recorder.action_space, spaces.Discrete):
            action = action.squeeze(-1)
        started = sorted_by_task(buffer.episode_starts).cumsum(1)  # episodes so far, the running one included
        mask = (started == 1).float()
        reward = torch.where(mask > 0, sorted_by_task(torch.stack(self.recorder.rewards).squeeze(-1)), 0.0)
        first = torch.zeros_like(mask, dtype=torch.bool)
        first[:, 0] = True
        states = None
        if self.recorder.states:  # [L, 1, ...] each
            lanes = Struct.stack([state.map(lambda x: x.squeeze(1)) for state in self.recorder.states], 1)
            states = lanes.map(lambda x: x.unflatten(0, self.shape).transpose(1, 2).unsqueeze(1))
        return Trajectory(sorted_by_task(buffer.observations), action, reward, mask, first, states)

    def train(self) -> dict[str, float]:
        """PPO's update on the latest round. Returns metrics, NaN among them when it leaves no policy to act by."""
        try:
            self.model.train()
        except ValueError as error:
            if not str(error).startswith("Expected parameter"):  # of a distribution: torch's word for NaN and infinity
                raise
            return {"value_loss": math.nan}
        if not self.sound:
            return {"value_loss": math.nan}
        logged = {key.removeprefix("train/"): float(x) for key, x in self.model.logger.name_to_value.items()}
        metrics = {"value_loss": logged["value_loss"], "entropy": -logged["entropy_loss"], "kl": logged["approx_kl"]}
        explained = logged["explained_variance"]  # NaN where all returns are equal
        return metrics if math.isnan(explained) else {**metrics, "value_explained": explained}

    @property
    def sound(self) -> bool:
        """Are all parameters and standard deviations of actions finite, and the latter positive?"""
        policy = self.model.policy
        tensors: list[Tensor] = list(policy.parameters())
        if isinstance(policy.action_space, spaces.Box):
            tensors += [policy.log_std.exp(), policy.log_std.exp().log()]
        return all(bool(x.isfinite().all()) for x in tensors)


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
        require(bounded, f"Stable-Baselines3 needs bounds of actions, and {family_name(env)}.action_space is {space}.")
        from envs.adapters.sb3 import TaskVecEnv
        from metarl.algorithms.sb3_convert import make_ppo

        self.config, self.policy_config, self.generator = config, policy, generator
        with global_streams(generator), warnings.catch_warnings(action="ignore"):  # it runs on a GPU, too
            fresh = make_ppo(TaskVecEnv(self.seen(env), 1), policy, device=env.device)
        self.parameters = fresh.get_parameters()
        self.learning: Learner | None = None
        self.informed = config.informed

    @property
    def params(self) -> Tensor:
        """Parameters of the policy and the value network in one vector [P]."""
        return torch.cat([x.detach().flatten() for x in self.parameters["policy"].values()])

    def seen(self, env: Env) -> Env:
        """The environment as the policy sees it."""
        return envs.informed(env) if self.config.informed else env

    def learner(self, env: Env, task: Struct, num_envs: int, generator: Generator, **options: bool) -> Learner:
        """A PPO with fresh parameters on these tasks. Call it within `global_streams`."""
        seed = draw_seed(generator)
        return Learner(self.config, self.policy_config, self.seen(env), task, num_envs, seed, **options)

    def start(self, learner: Learner) -> None:
        """Give a learner a copy of the parameters, because Adam would write into the tensors it is given."""
        learner.model.set_parameters(copy.deepcopy(self.parameters))  # type: ignore[arg-type]

    def collect(self, env: Env, task: Struct, num_envs: int, generator: Generator) -> list[Trajectory]:
        """One round of episodes on all tasks, which `update` learns from."""
        with global_streams(generator):
            self.learning = self.learner(env, task, num_envs, generator)
            self.start(self.learning)
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
        self.start(learner)
        stages = [learner.collect()]
        for _ in range(num_steps):
            if math.isnan(learner.train()["value_loss"]):
                raise NonFiniteError("Fine-tuning met parameters that are not finite; a smaller finetune_lr may help.")
            stages.append(learner.collect())
        return stages

    def to_sb3(self, env: Any, **options: Any) -> Any:
        from metarl.algorithms.sb3_convert import make_ppo

        model = make_ppo(env, self.policy_config, **options)
        model.policy.load_state_dict(self.parameters["policy"])
        return model

    def state_dict(self) -> dict[str, Any]:
        return {"policy": self.parameters["policy"], "optimizer": self.parameters["policy.optimizer"]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        own, other = self.parameters["policy"], state["policy"]
        check_tensors(other, own)
        self.parameters, self.learning = {"policy": other, "policy.optimizer": state["optimizer"]}, None
