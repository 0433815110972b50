"""PPO over whole trials, for policies that adapt by their memory (RL², Duan et al. 2016; Schulman et al. 2017).

A trial is several episodes on one task. The policy keeps its memory throughout a trial, and the objective is the return
of the whole trial, with advantages that reach across the ends of episodes.
"""

from __future__ import annotations

import copy
import statistics
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from annotated_types import Gt
from torch import Generator, Tensor, nn

from envs.core import Env
from envs.errors import InputError, require
from envs.fields import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt
from envs.structs import Struct
from metarl.algorithms.base import Algorithm, AlgorithmConfig, Setup, Stages, check_tensors
from metarl.backend import distributed
from metarl.backend.cuda_graphs import Graphs
from metarl.backend.distributed import all_sum
from metarl.learning.advantage import gae
from metarl.learning.losses import clipped
from metarl.learning.rollout import CHUNK_STEPS, Actor, Play, Trajectory, rollout
from metarl.policies.mlp import StepInput
from metarl.policies.recurrent import MemoryConfig, Outputs, TrialNetwork


@dataclass(frozen=True)
class RecurrentPPOConfig(AlgorithmConfig):
    """PPO on trials."""

    num_episodes: PositiveInt = 1
    """Episodes in a trial."""
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
    entropy_coef: NonNegativeFloat = 0.01
    """Initial weight of the policy's entropy; it falls linearly to 0 at entropy_until."""
    entropy_until: Fraction = 0.8
    """Fraction of the run after which the entropy has no weight."""
    max_grad_norm: Annotated[float, Gt(0)] = 1.0
    """Gradients are scaled down to this norm."""
    refine_lr: NonNegativeFloat = 0.1
    """Learning rate of gradient steps on a trial's own experience, in evaluation (--refine-steps)."""

    def make(self, setup: Setup) -> RecurrentPPO:
        if not isinstance(setup.policy, MemoryConfig):
            raise InputError(
                "PPO on trials trains a policy with a memory, so give it a MetaNetConfig or GRUConfig and not an "
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
        self.optimizer = torch.optim.Adam(network.parameters(), config.lr, eps=1e-5)
        self.updates = 0

    @property
    def params(self) -> Tensor:
        """The network's parameters and its normalizer's statistics, in one vector [P]."""
        return torch.cat(
            [x.detach().flatten() for x in (*self.network.parameters(), *self.network.normalizer.buffers())]
        )

    def collect(self, env: Env, task: Struct, num_envs: int, generator: Generator) -> list[Trajectory]:
        """A trial in each lane, to train on."""

        def play(task: Struct) -> Trajectory:
            return rollout(env, actor(self.network, generator), task, num_envs, generator, self.config.num_episodes)

        return [self.graphs(("collect", num_envs), play, task, generators=[generator])]

    def stages(self, num_steps: int | None = None, refine_steps: int = 0) -> Stages:
        """The episodes of a trial; after them the last one again, refined."""
        require(
            num_steps is None,
            "A policy with a memory adapts in the episodes of its trial; --refine-steps adds gradient steps.",
        )
        require(
            refine_steps == 0 or self.config.num_episodes > 1,
            "Refinement learns from the episodes before the last one of a trial, and these trials have one episode; "
            "train with --num-episodes 2 or more, or leave --refine-steps out.",
        )
        return Stages(refine_steps, self.config.num_episodes)

    def play(self, env: Env, num_envs: int, generator: Generator, stages: Stages) -> Play:
        """Trials, and their last episode again with parameters that took 1, 2, ... gradient steps.

        These steps minimize ordinary policy-gradient losses on the earlier episodes, with the memory read as usual.
        Everything before the last episode is the same, with the same random numbers.
        """

        def play(task: Struct, keep_states: bool) -> list[Trajectory]:
            if stages.num_steps == 0:
                return [self._trial(env, actor(self.network, generator), task, num_envs, generator, keep_states)]
            alone = [
                self._refined_trial(env, task[n : n + 1], num_envs, generator, stages.num_steps, keep_states)
                for n in range(len(task))
            ]
            return [Trajectory.cat(list(entry)) for entry in zip(*alone, strict=True)]

        return play

    def _trial(
        self, env: Env, act: Actor, task: Struct, num_envs: int, generator: Generator, keep_states: bool
    ) -> Trajectory:
        return rollout(env, act, task, num_envs, generator, self.config.num_episodes, keep_states=keep_states)

    def _refined_trial(
        self, env: Env, task: Struct, num_envs: int, generator: Generator, num_steps: int, keep_states: bool
    ) -> list[Trajectory]:
        """The trial of one task, and its last episode after each gradient step."""
        start = generator.get_state()
        played = [self._trial(env, actor(self.network, generator), task, num_envs, generator, keep_states)]
        before_last = played[0].reward.shape[1] - env.horizon
        known = replace(played[0], states=None)[:, : before_last + 1]  # and what the last episode starts from
        batch, _ = self.batch(known.map(lambda x: x.transpose(1, 2).flatten(0, 1)), bootstrap=True)
        network = copy.deepcopy(self.network)
        for _ in range(num_steps):
            outputs = network(batch.inputs)
            gain = network.distribution(outputs).log_prob(batch.action) * batch.advantage
            gradients = torch.autograd.grad(
                -(gain * batch.mask).sum() / batch.mask.sum(), list(network.parameters()), allow_unused=True
            )
            with torch.no_grad():
                for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                    if gradient is not None:
                        parameter.sub_(self.config.refine_lr * gradient)
            generator.set_state(start)
            switch = actor(self.network, generator, network, batch.mask.shape[1])
            again = self._trial(env, switch, task, num_envs, generator, keep_states)
            played.append(again.episodes(env.horizon)[-1])
        return played

    def attention(self, inputs: StepInput) -> Tensor | None:
        return self.network.attention(inputs)

    def compile(self) -> None:
        self.network.compile()

    def update(self, trajectories: list[Trajectory]) -> dict[str, float]:
        """PPO on what `collect` returned. Returns metrics."""
        c, done = self.config, self.updates / max(1, self.num_iterations)
        trial = trajectories[0].map(lambda x: x.transpose(1, 2).flatten(0, 1))  # [B, T, ...]
        batch, explained = self.batch(trial)
        rising = min(1.0, (self.updates + 1) / max(1.0, c.warmup * self.num_iterations))
        for group in self.optimizer.param_groups:
            group["lr"] = c.lr * rising * max(0.0, 1 - done)
        entropy_coef = c.entropy_coef * max(0.0, 1 - done / c.entropy_until) if c.entropy_until else 0.0
        metrics = []
        for _ in range(c.epochs):
            for rows in self.minibatches(len(batch)):
                metrics.append(self.descend(batch[rows], entropy_coef))  # noqa: PERF401
        self.network.normalizer.update(trial.obs, trial.reward, trial.mask)
        self.updates += 1
        means = {name: statistics.fmean(m[name] for m in metrics) for name in metrics[0]}
        return {**means, "value_explained": explained}

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
    def batch(self, t: Trajectory, bootstrap: bool = False) -> tuple[Batch, float]:
        """Trials [B, T, ...] with advantages and targets of the value output; and the explained variance of the values.

        With `bootstrap` only the value of the last step is used, as the value after the steps before it.
        """
        n, outputs = self.network, self.outputs(t.inputs)
        remaining = n.num_steps - torch.arange(t.reward.shape[1], device=t.reward.device, dtype=t.reward.dtype)
        shift, scale = n.normalizer.mean[-1], n.normalizer.reward_scale
        value = remaining * (shift + scale * outputs.value)
        end = None
        if bootstrap:
            end, t, outputs, value, remaining = value[:, -1], t[:, :-1], outputs[:, :-1], value[:, :-1], remaining[:-1]
        advantage = gae(t.reward, value, t.mask, self.config.gamma, self.config.gae_lambda, end)
        target = ((advantage + value) / remaining - shift) / scale
        valid = t.mask > 0
        variance = distributed.var(target[valid]).clamp_min(1e-12)
        explained = 1 - float(distributed.var((target - outputs.value)[valid]) / variance)
        shift, scale = distributed.mean(advantage[valid]), distributed.std(advantage[valid], correction=0)
        advantage = (advantage - shift) / (scale + 1e-8)
        log_prob = n.distribution(outputs).log_prob(t.action)
        return Batch(t.inputs, t.action, t.mask, log_prob, advantage, target), explained

    def outputs(self, inputs: StepInput) -> Outputs:
        """Of whole trials, a group of them at a time."""
        size = max(1, CHUNK_STEPS // inputs.obs.shape[1])
        return Outputs.cat([self.network(inputs[row : row + size]) for row in range(0, len(inputs), size)])

    def descend(self, batch: Batch, entropy_coef: float) -> dict[str, float]:
        c = self.config
        outputs = self.network(batch.inputs)
        distribution = self.network.distribution(outputs)
        count = all_sum(batch.mask.sum())
        log_ratio = (distribution.log_prob(batch.action) - batch.log_prob) * batch.mask
        ratio = log_ratio.exp()
        policy_loss = -(clipped(ratio, batch.advantage, c.clip) * batch.mask).sum() / count
        value_loss = ((outputs.value - batch.target).square() * batch.mask).sum() / count
        entropy = (distribution.entropy() * batch.mask).sum() / count
        loss = policy_loss + c.value_coef * value_loss - entropy_coef * entropy
        self.optimizer.zero_grad()
        loss.backward()
        distributed.all_sum_gradients(self.network.parameters())
        nn.utils.clip_grad_norm_(self.network.parameters(), c.max_grad_norm)
        self.optimizer.step()
        kl = ((ratio - 1 - log_ratio) * batch.mask).sum() / count
        total = all_sum(torch.stack([value_loss, entropy, kl]).detach())
        return dict(zip(("value_loss", "entropy", "kl"), total.tolist(), strict=True))

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        own, other = self.network.state_dict(), state["network"]
        check_tensors(other, own)
        self.network.load_state_dict(other)
        self.optimizer.load_state_dict(state["optimizer"])
        self.updates = int(state["updates"])


def actor(network: TrialNetwork, generator: Generator, later: TrialNetwork | None = None, since: int = 0) -> Actor:
    """Acts by sampling, with a memory kept throughout the trial; from step `since` on with the network `later`."""

    def act(inputs: StepInput, state: Any, memory: Any) -> tuple[Tensor, Any]:
        t, memory = (0, None) if memory is None else memory
        network.check_length(t + 1)
        now = network if later is None or t < since else later
        outputs, memory = now.step(inputs.map(lambda x: x.flatten(0, 1)), memory)
        action = now.distribution(outputs).sample(generator)
        return action.unflatten(0, inputs.obs.shape[:2]), (t + 1, memory)

    return act
