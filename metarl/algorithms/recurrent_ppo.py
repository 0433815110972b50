"""PPO over whole trials, for policies that adapt by their memory (RL², Duan et al. 2016; Schulman et al. 2017).

A trial is several episodes on one task. The policy keeps its memory throughout a trial, and the objective is the return
of the whole trial, with advantages that reach across the ends of episodes.
"""

from __future__ import annotations

import statistics
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from annotated_types import Gt
from torch import Generator, Tensor, nn
from torch.nn import functional

from envs.core import Env
from envs.errors import InputError, require
from envs.fields import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from envs.structs import Struct
from metarl.algorithms.base import Algorithm, AlgorithmConfig, Setup, Stages, check_tensors, load_optimizer
from metarl.algorithms.compiled_trials import CompiledTrials
from metarl.algorithms.exploration import ExplorationBonus
from metarl.algorithms.model_learner import ModelLearner
from metarl.algorithms.task_policy import MemoryPolicy
from metarl.algorithms.trials import actor, play_trials, trial_stages
from metarl.backend import distributed
from metarl.backend.compiled import Function, fusing
from metarl.backend.cuda_graphs import Graphs
from metarl.backend.distributed import all_sum
from metarl.learning.advantage import gae
from metarl.learning.descent import descend, flat_gradient, lr_at, scaled_down, set_lr, split
from metarl.learning.losses import clipped
from metarl.learning.rollout import CHUNK_STEPS, Play, Trajectory, rollout
from metarl.policies.mlp import StepInput
from metarl.policies.recurrent import MemoryConfig, Outputs, TrialNetwork

METRICS = ("value_loss", "entropy", "kl")
"""Of a minibatch."""


@dataclass(frozen=True)
class RecurrentPPOConfig(AlgorithmConfig):
    """PPO on trials."""

    num_episodes: PositiveInt = 1
    """Episodes in a trial."""
    free_episodes: NonNegativeInt = 0
    """First episodes of a trial whose rewards the objective leaves out, so that they are free to explore (E-RL², Stadie
    et al. 2018). The policy still sees these rewards."""
    lr: PositiveFloat = 2e-3
    """Adam's learning rate after the warm-up; it falls linearly to 0 at the last meta-iteration."""
    warmup: Fraction = 0.05
    """Fraction of the run in which the learning rate rises from 0."""
    epochs: PositiveInt = 2
    """Passes over the trials of a meta-iteration."""
    minibatches: PositiveInt = 4
    """Minibatches in a pass; a trial is never divided."""
    clip: Annotated[float, Gt(0)] = 0.2
    """Likelihood ratios count up to 1 ± this."""
    gamma: Fraction = 1.0
    """Discount from step to step of the trial."""
    gae_lambda: Fraction = 0.3
    """Decay of generalized advantage estimates over the steps of the trial."""
    value_coef: NonNegativeFloat = 0.5
    """Weight of the value function's error."""
    aux_coef: NonNegativeFloat = 0.5
    """Weight of the same losses at the outputs of slow weights alone, for a network that has such outputs."""
    entropy_coef: NonNegativeFloat = 0.01
    """Initial weight of the policy's entropy; it falls linearly to 0 at entropy_until."""
    entropy_until: Fraction = 0.8
    """Fraction of the run after which the entropy has no weight."""
    max_grad_norm: Annotated[float, Gt(0)] = 1.0
    """Gradients are scaled down to this norm."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.free_episodes < self.num_episodes,
            f"free_episodes must be less than num_episodes, and {self.free_episodes} of {self.num_episodes} leave no "
            "reward to learn from.",
        )

    def make(self, setup: Setup) -> RecurrentPPO:
        if not isinstance(setup.policy, MemoryConfig):
            raise InputError(
                "PPO on trials trains a policy with a memory, so give it a MetaNetConfig or RL2Config and not an "
                "MLPConfig."
            )
        network = setup.policy.make(setup.env, self.num_episodes, setup.generator)
        return RecurrentPPO(self, network, setup.generator, setup.num_iterations, setup.num_shards)

    @property
    def rounds(self) -> int:
        return self.num_episodes

    @property
    def smaller_steps(self) -> str:
        return f"--lr {self.lr / 2:g}"


@dataclass(frozen=True, eq=False)
class Batch(Struct):
    """Trials as rows."""

    inputs: StepInput  # [B, T, ...]
    action: Tensor  # [B, T, A] or [B, T]
    mask: Tensor  # [B, T]
    log_prob: Tensor  # [B, T] under the policy that acted
    advantage: Tensor  # [B, T]
    target: Tensor  # [B, T] of the value output


class RecurrentPPO(Algorithm):
    """Trains a `TrialNetwork`; what it learns needs no gradient to adapt.

    Args:
        num_shards: equal parts of a meta-batch, spread over the processes; a minibatch takes as many trials of each.
    """

    name = "RecurrentPPO"
    graphs: Graphs
    network: TrialNetwork

    def __init__(
        self,
        config: RecurrentPPOConfig,
        network: TrialNetwork,
        generator: Generator,
        num_iterations: int,
        num_shards: int = 1,
    ) -> None:
        self.config, self.network, self.generator, self.num_iterations = config, network, generator, num_iterations
        self.num_shards, self.graphs = num_shards, Graphs()
        self.parameters = [p for p in network.parameters() if p.numel()]
        # fused: one launch on a device, where a step is many; on the CPU it would change the rounding
        fused = True if self.parameters[0].is_cuda else None
        self.optimizer = torch.optim.Adam(network.parameters(), config.lr, eps=1e-5, fused=fused)
        self.model = (
            ModelLearner(network, network.model, generator, num_shards, config.max_grad_norm) if network.model else None
        )
        bonuses = network.bonuses
        self.bonus = ExplorationBonus(network, bonuses, generator, config.gamma) if bonuses else None
        self.updates, self.compiles_acting = 0, False
        self.kernels: dict[Hashable, Function] = {}  # of the update
        self.trials: CompiledTrials | None = None

    @property
    def params(self) -> Tensor:
        """The network's parameters and its normalizer's statistics, in one vector [P]."""
        return self.network.params

    def collect(self, env: Env, task: Struct, num_envs: int, generator: Generator) -> list[Trajectory]:
        """A trial in each lane, to train on, with what the network gave at each step."""
        if self.compiles_acting:
            self.trials = self.trials or CompiledTrials(env, self.network, generator)
            trial = self.trials.play(task, num_envs, self.config.num_episodes)
            if trial is not None:
                return [trial]

        def play(task: Struct) -> Trajectory:
            outputs: list[Outputs] = []
            act = actor(self.network, generator, traced=not self.graphs.record, outputs=outputs)
            trial = rollout(env, act, task, num_envs, generator, self.config.num_episodes)
            lanes = Outputs.stack(outputs, 1)  # [N E, T, ...]
            return replace(trial, outputs=lanes.map(lambda x: x.unflatten(0, (-1, num_envs)).transpose(1, 2)))

        return [self.graphs(("collect", num_envs), play, task, generators=[generator])]

    def stages(self, num_steps: int | None = None) -> Stages:
        """The episodes of a trial."""
        return trial_stages("A policy with a memory", self.config.num_episodes, num_steps)

    def play(self, env: Env, num_envs: int, generator: Generator, stages: Stages, greedy: bool = False) -> Play:
        """Trials."""
        return play_trials(env, self.network, num_envs, generator, self.config.num_episodes, greedy)

    def task_policy(self, env: Env, num_envs: int, num_steps: int, generator: Generator) -> MemoryPolicy:
        return MemoryPolicy(self.network, num_envs)

    def attention(self, inputs: StepInput) -> Tensor | None:
        return self.network.attention(inputs)

    def belief(self, inputs: StepInput) -> Tensor | None:
        return self.network.belief(inputs)

    def compile(self) -> None:
        self.network.compile()

    def compile_acting(self) -> None:
        self.compiles_acting = True

    def update(self, trajectories: list[Trajectory]) -> dict[str, float]:
        """PPO on what `collect` returned. Returns metrics."""
        c, done = self.config, self.updates / max(1, self.num_iterations)
        trial = trajectories[0].map(lambda x: x.transpose(1, 2).flatten(0, 1))  # [B, T, ...]
        bonus, of_bonus = self.bonus.update(trial, max(0.0, 1 - done)) if self.bonus else (None, {})
        batch, explained = self.graphs("batch", self.batch, trial, *([] if bonus is None else [bonus]))
        set_lr(self.optimizer, lr_at(c.lr, self.updates, self.num_iterations, c.warmup))
        entropy_coef = c.entropy_coef * max(0.0, 1 - done / c.entropy_until) if c.entropy_until else 0.0
        weight = batch.mask.new_full((), entropy_coef)
        passes = (rows for _ in range(c.epochs) for rows in self.minibatches(len(batch)))
        with fusing(self.kernels if self.compiles_acting else None):
            metrics = [self.descend(batch[rows], weight) for rows in passes]
            self.network.normalizer.update(trial.obs, trial.reward, trial.mask)
            of_model = self.model.update(trial, max(0.0, 1 - done), self.graphs) if self.model else {}
        self.updates += 1
        *columns, explained_by_values = torch.stack([*torch.stack(metrics, 1), explained.expand(len(metrics))]).tolist()
        means = map(statistics.fmean, columns)
        return {
            **dict(zip(METRICS, means, strict=True)),
            "value_explained": explained_by_values[0],
            **of_model,
            **of_bonus,
        }

    def minibatches(self, num_trials: int) -> list[Tensor]:
        """Rows of each minibatch of a pass among this process's trials; all processes draw the same permutations."""
        own = self.num_shards // distributed.world_size()
        size, first = num_trials // own, distributed.rank() * own
        parts = []
        for shard in range(self.num_shards):
            order = torch.randperm(size, generator=self.generator, device=self.generator.device)
            if first <= shard < first + own:
                order += (shard - first) * size
                parts.append(order.tensor_split(min(self.config.minibatches, size)))
        return [torch.cat(rows) for rows in zip(*parts, strict=True)]

    @torch.no_grad()
    def batch(self, t: Trajectory, bonus: Tensor | None = None) -> tuple[Batch, Tensor]:
        """Trials [B, T, ...] with advantages and value targets, of rewards with a bonus [B, T] if there is one; and the
        explained variance of the values."""
        n, outputs = self.network, self.outputs(t.inputs) if t.outputs is None else t.outputs
        assert isinstance(outputs, Outputs)
        remaining = n.num_steps - torch.arange(t.reward.shape[1], device=t.reward.device, dtype=t.reward.dtype)
        shift, scale = n.normalizer.mean[-1], n.normalizer.reward_scale
        value = remaining * (shift + scale * outputs.value)
        free = self.config.free_episodes * n.horizon
        reward = functional.pad(t.reward[:, free:], (free, 0))
        reward = reward if bonus is None else reward + bonus
        advantage = gae(reward, value, t.mask, self.config.gamma, self.config.gae_lambda)
        target = ((advantage + value) / remaining - shift) / scale
        columns = torch.stack([target, target - outputs.value, advantage], -1).flatten(0, 1)
        _, mean, variance = distributed.moments(columns, t.mask.flatten())
        explained = 1 - variance[1] / variance[0].clamp_min(1e-12)
        advantage = (advantage - mean[2]) / (variance[2].sqrt() + 1e-8)
        log_prob = n.distribution(outputs).log_prob(t.action)
        return Batch(t.inputs, t.action, t.mask, log_prob, advantage, target), explained

    def outputs(self, inputs: StepInput) -> Outputs:
        """Of whole trials, a group of them at a time."""
        size = max(1, CHUNK_STEPS // inputs.obs.shape[1])
        return Outputs.cat([self.network(inputs[row : row + size]) for row in range(0, len(inputs), size)])

    def descend(self, batch: Batch, entropy_coef: Tensor) -> Tensor:
        """One step of Adam on a minibatch. Returns its metrics, in the order of METRICS."""
        gradient, metrics = self.graphs("gradient", self.gradient, batch, entropy_coef)
        descend(self.optimizer, self.parameters, gradient)
        return metrics

    def gradient(self, batch: Batch, entropy_coef: Tensor) -> tuple[Tensor, Tensor]:
        """Of the loss of a minibatch [P], scaled down to `max_grad_norm`; and metrics, in the order of METRICS."""
        c, outputs = self.config, self.network(batch.inputs)
        count = all_sum(batch.mask.sum())
        loss, metrics = self.loss(outputs, batch, count, entropy_coef)
        if outputs.slow is not None and c.aux_coef:
            loss = loss + c.aux_coef * self.loss(outputs.slow, batch, count)[0]
        flat = flat_gradient(loss, self.parameters)
        norm = nn.utils.get_total_norm(split(flat, self.parameters))
        return scaled_down(flat, norm, c.max_grad_norm), all_sum(metrics)

    def loss(
        self, outputs: Outputs, batch: Batch, count: Tensor, entropy_coef: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """This process's part of the mean loss of `count` steps; and of METRICS."""
        c, distribution = self.config, self.network.distribution(outputs)
        log_ratio = (distribution.log_prob(batch.action) - batch.log_prob) * batch.mask
        ratio = log_ratio.exp()
        policy_loss = -(clipped(ratio, batch.advantage, c.clip) * batch.mask).sum() / count
        value_loss = ((outputs.value - batch.target).square() * batch.mask).sum() / count
        entropy = (distribution.entropy() * batch.mask).sum() / count
        kl = ((ratio - 1 - log_ratio) * batch.mask).sum() / count
        loss = policy_loss + c.value_coef * value_loss
        if entropy_coef is not None:
            loss = loss - entropy_coef * entropy
        return loss, torch.stack([value_loss, entropy, kl]).detach()

    def state_dict(self) -> dict[str, Any]:
        of_model = {"model_optimizer": self.model.optimizer.state_dict()} if self.model else {}
        of_model |= {"bonus": self.bonus.state_dict()} if self.bonus else {}
        optimizer = self.optimizer.state_dict()
        return {"network": self.network.state_dict(), "optimizer": optimizer, "updates": self.updates, **of_model}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        own, other = self.network.state_dict(), state["network"]
        check_tensors(other, own)
        self.network.load_state_dict(other)
        optimizers = {"optimizer": self.optimizer, **({"model_optimizer": self.model.optimizer} if self.model else {})}
        for name, optimizer in optimizers.items():
            load_optimizer(optimizer, state[name])
        if self.bonus:
            self.bonus.load_state_dict(state["bonus"])
        self.updates = int(state["updates"])
