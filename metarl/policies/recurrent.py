"""Networks that act through a trial: what they see at each step, and what training and acting ask of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from torch import Generator, Tensor, nn

from envs.core import Env
from envs.errors import InputError, require
from envs.fields import Checked
from envs.kinds import action_dtype, in_words, is_categorical, is_image
from envs.structs import Struct
from metarl.backend import distributed
from metarl.policies.distributions import Distribution
from metarl.policies.encoders import encoder_of
from metarl.policies.mlp import Head, StepInput


@dataclass(frozen=True, eq=False)
class Outputs(Struct):
    """What a network returns for each step."""

    action: Tensor  # [..., A] inputs of the action distribution
    value: Tensor  # [...] mean reward of the trial's remaining steps, in standard deviations of a reward
    slow: Outputs | None = None  # those of slow weights alone, where they are to be trained, too


@dataclass(frozen=True, eq=False)
class SlowOutputs(Struct):
    """What slow weights alone give for a step, and what the gradient of the loss at it needs besides."""

    policy: Tensor  # [..., A] inputs of the action distribution
    value: Tensor  # [...] as in `Outputs`
    remaining: Tensor  # [...] steps of the trial from here on
    mask: Tensor  # [...] float


class MemoryConfig(Checked, ABC):
    """The options of a policy with a memory, and how to make it from them."""

    init_std: float

    @abstractmethod
    def build(self, env: Env, num_episodes: int) -> TrialNetwork:
        """The network with fresh parameters, from torch's global random stream."""

    def make(self, env: Env, num_episodes: int, generator: Generator) -> TrialNetwork:
        """The network with fresh parameters, drawn from a seed that the generator draws.

        Raises `InputError` when the environment's observations are neither vectors nor images nor categories.
        """
        space = env.observation_space
        if not (is_image(space) or is_categorical(space) or (isinstance(space, spaces.Box) and len(space.shape) == 1)):
            raise InputError(
                f"A policy needs observations that are vectors, images or categories, not {in_words(space)}."
            )
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build(env, num_episodes).to(generator.device)


@dataclass(frozen=True)
class ModelTraining:
    """How a network learns from whole trials what is not PPO's to teach, by `TrialNetwork.model_loss`."""

    parameters: list[nn.Parameter]
    lr: float
    """Adam's learning rate; it falls linearly to 0 at the last meta-iteration."""
    updates: int
    """Steps in a meta-iteration."""
    trials: int
    """Trials of a step."""
    samples: tuple[int, int]
    """Steps of a trial whose beliefs are decoded (K), and numbers drawn for each (L)."""
    decoded: int
    """Steps of the trial that are decoded from each (D)."""


@dataclass(frozen=True)
class Bonuses:
    """Rewards for exploration that training adds, from what `TrialNetwork.explored` gives."""

    novelty: float
    """Weight of the novelty of a hyper-state."""
    error: float
    """Weight of the model's error."""
    size: int
    """Numbers of a hyper-state (S)."""


class TrialNetwork(nn.Module):
    """A policy with a memory, and a value function, for trials of a fixed length.

    For acting, call `step` with the memory that the last call returned; for training, call the network with whole
    trials. Both compute the same. B lanes are independent of each other.
    """

    remembers: bool = True
    """Does the memory hold anything?"""
    model: ModelTraining | None = None
    """Of a network that has a model of the task; None for all others."""
    bonuses: Bonuses | None = None
    """Rewards for exploration that training adds; None for none."""

    def __init__(self, env: Env, num_episodes: int, init_std: float = 1.0) -> None:
        super().__init__()
        self.horizon, self.num_steps = env.horizon, num_episodes * env.horizon
        self.discrete = isinstance(env.action_space, spaces.Discrete)
        self.head = Head(env.action_space, init_std)
        self.no_action = torch.zeros(env.action_space.shape or (), dtype=action_dtype(env.action_space))
        self.free = nn.Parameter(self.head.init())
        self.encoder = encoder_of(env.observation_space)
        self.raw_size, self.action_size = math.prod(env.observation_space.shape), self.head.num_outputs
        self.obs_size = self.encoder.num_features if self.encoder else self.raw_size  # of `normalized_obs`
        self.num_step_features = self.action_size + 6  # of `step_features`
        t = torch.arange(self.num_steps)
        times = [t / len(t), t % self.horizon / self.horizon, t.float().log1p() / math.log1p(len(t)), (t == 0).float()]
        self.register_buffer("times", torch.stack(times, -1), persistent=False)  # of each step, for `step_features`
        self.times: Tensor
        self.normalizer = Normalizer(0 if self.encoder else self.raw_size)
        space, bounds = env.action_space, torch.zeros(0)
        if isinstance(space, spaces.Box):
            bounds = torch.stack([torch.as_tensor(x) for x in (space.low, space.high)])
        self.register_buffer("bounds", bounds, persistent=False)
        self.bounds: Tensor

    @abstractmethod
    def start(self, num_lanes: int) -> Any:
        """The memory [B, ...] at the start of a trial, a Struct."""

    @abstractmethod
    def step(self, inputs: StepInput, memory: Any) -> tuple[Outputs, Any]:
        """One step of each lane: inputs [B, ...]; at the start of a trial `memory` is None, or what `start` returns."""

    @abstractmethod
    def forward(self, inputs: StepInput) -> Outputs:
        """Whole trials: inputs [B, T, ...]."""

    def attention(self, inputs: StepInput) -> Tensor | None:
        """Attention [B, T, T] of each step to each earlier step; None where nothing is retrieved."""
        return None

    def belief(self, inputs: StepInput) -> Tensor | None:
        """Mean and standard deviation of a belief about the task after each step, [B, 2, T, L]; None without one."""
        return None

    def model_loss(
        self, inputs: StepInput, action: Tensor, reward: Tensor, noise: Tensor, at: Tensor, decoded: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss of the model on trials [B, T, ...], of each [B], and what its metrics are made from, [B, 4].

        Args:
            noise: [B, K, L], standard normal.
            at: [K] steps whose beliefs are decoded.
            decoded: [D] steps that are decoded from each of them.
        """
        raise NotImplementedError

    def explored(self, inputs: StepInput, action: Tensor, reward: Tensor) -> tuple[Tensor, Tensor]:
        """Of trials [B, T, ...] the hyper-state before each step, observation and belief, [B, T, S]; and the squared
        error of the model's prediction of each step from the belief after it, [B, T]."""
        raise NotImplementedError

    @property
    def params(self) -> Tensor:
        """All parameters and the normalizer's statistics, in one vector [P]."""
        return torch.cat([x.detach().flatten() for x in (*self.parameters(), *self.normalizer.buffers())])

    def distribution(self, outputs: Outputs) -> Distribution:
        return self.head(outputs.action, self.free.unsqueeze(0))

    def one_hot(self, action: Tensor) -> Tensor:
        """Actions as vectors of A numbers: one-hot, or within the bounds of the environment's actions."""
        if self.discrete:
            return (action.unsqueeze(-1) == torch.arange(self.action_size, device=action.device)).float()
        if self.head.several:
            columns = zip(action.unbind(-1), self.head.counts, strict=True)
            return torch.cat([(x.unsqueeze(-1) == torch.arange(n, device=x.device)).float() for x, n in columns], -1)
        return action.clamp(*self.bounds.to(action))

    def output_gradient(self, past: SlowOutputs, now: SlowOutputs, inputs: StepInput) -> Tensor:
        """Gradient [..., A + 1] of log π(a) δ + δ v at the policy and value of the step `past`, with its TD error δ.

        `inputs` are those of the step after it, `now`: they hold its action and reward. The gradient is data: nothing
        learns through it, since its size depends so steeply on the outputs that it upsets the training of these.
        """
        reward = self.normalizer.reward(inputs.prev_reward)
        # A value is the mean reward of the steps that remain, so the return to come is that many times it.
        error = reward + now.mask * now.remaining * now.value - past.remaining * past.value
        if self.discrete:
            score = self.one_hot(inputs.prev_action) - past.policy.softmax(-1)
        elif self.head.several:
            shares = torch.cat([x.softmax(-1) for x in past.policy.split(self.head.counts, -1)], -1)
            score = self.one_hot(inputs.prev_action) - shares
        else:
            score = (inputs.prev_action - past.policy) * torch.exp(-2 * self.free)
        return torch.cat([score * error.unsqueeze(-1), error.unsqueeze(-1)], -1).detach()

    def check_length(self, num_steps: int) -> None:
        """Raise `InputError` for a trial longer than those that the network was made for."""
        require(
            num_steps <= self.num_steps,
            f"A trial of {num_steps} steps is longer than the {self.num_steps} steps that this policy was made for; "
            "make it with more num_episodes.",
        )

    def all_steps(self, inputs: StepInput) -> Tensor:
        """Step numbers of whole trials, [B, T]."""
        self.check_length(inputs.obs.shape[1])
        return torch.arange(inputs.obs.shape[1], device=inputs.obs.device).expand(inputs.obs.shape[:2])

    def features(self, obs: Tensor, encoder: nn.Module | None = None) -> Tensor:
        """Normalized observations [..., O], or the features of an encoder, by default the policy's."""
        encoder = encoder or self.encoder
        return self.normalizer.obs(obs) if encoder is None else encoder(obs)

    def normalized_obs(self, inputs: StepInput) -> Tensor:
        """The same of inputs, as the policy sees them. Padding is seen as zeros."""
        return torch.where(inputs.mask.unsqueeze(-1) > 0, self.features(inputs.obs), 0.0)

    def step_features(self, inputs: StepInput, t: Tensor) -> Tensor:
        """All inputs besides the observation [..., S]: previous action and reward, whether an episode starts, and time
        as fractions of the trial and the episode, and as a logarithm. `t` [...] counts the trial's steps.
        """
        begun = (t > 0).unsqueeze(-1)
        action = torch.where(begun, self.one_hot(inputs.prev_action), 0.0)
        reward = torch.where(begun, self.normalizer.reward(inputs.prev_reward).unsqueeze(-1), 0.0)
        return torch.cat([action, reward, inputs.first.float().unsqueeze(-1), self.times[t]], -1)


class Normalizer(nn.Module):
    """Running mean and standard deviation of rewards and of observations that are no images, over all steps so far."""

    def __init__(self, obs_size: int) -> None:
        super().__init__()
        for name, value in (("mean", torch.zeros), ("variance", torch.ones)):
            self.register_buffer(name, value(obs_size + 1))
        self.register_buffer("count", torch.zeros(()))
        self.mean: Tensor
        self.variance: Tensor
        self.count: Tensor

    def obs(self, obs: Tensor) -> Tensor:
        """Observations as standard deviations from the mean, clipped to ±10."""
        scale = self.variance[:-1].sqrt().clamp_min(1e-3)
        return ((obs - self.mean[:-1]) / scale).clamp(-10, 10)

    def reward(self, reward: Tensor) -> Tensor:
        return (reward - self.mean[-1]) / self.reward_scale

    @property
    def reward_scale(self) -> Tensor:
        """The standard deviation of rewards; their mean's size where they hardly vary, as with 1 for each step.

        Values are in these units, and without any no output could tell how many steps remain.
        """
        std, size = self.variance[-1].sqrt(), self.mean[-1].abs()
        return torch.where(std < 0.1 * size, size, std).clamp_min(1e-6)

    @torch.no_grad()
    def update(self, obs: Tensor, reward: Tensor, mask: Tensor) -> None:
        """Add the steps [...] of all processes where mask is 1."""
        obs = obs[..., : len(self.mean) - 1]  # none of images
        x = torch.cat([obs, reward.unsqueeze(-1)], -1).flatten(0, -2)
        new, mean, variance = distributed.moments(x, mask.flatten())
        total = self.count + new
        delta = mean - self.mean
        spread = self.variance * self.count + variance * new + delta.square() * self.count * new / total
        self.mean += delta * new / total
        self.variance.copy_(spread / total)
        self.count += new
