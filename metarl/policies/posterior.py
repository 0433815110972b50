"""A policy on a latent variable z of the task, and the posterior of z given transitions (Rakelly et al. 2019).

The posterior is a product of Gaussians, a factor for each transition (s, a, r) (equation 2), so that their order does
not matter and two sums are all that must be remembered of them. Where tasks differ in their dynamics, a transition is
(s, a, r, s').
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Generator, Tensor, nn
from torch.nn import functional

from envs.contract import family_name
from envs.core import Env
from envs.errors import require
from envs.kinds import in_words, is_vector
from envs.structs import Struct, chosen
from metarl.backend.products import Linear
from metarl.policies.distributions import TanhGaussian
from metarl.policies.mlp import Activation, StepInput

LOG_STD = -20.0, 2.0
"""Bounds of the logarithm of an action's standard deviation before tanh."""
LEAST_VARIANCE = 1e-7
"""Of a factor."""


@dataclass(frozen=True, eq=False)
class Context(Struct):
    """The memory of a lane: sums over the factors of the trial so far, and the current z."""

    precision: Tensor  # [B, L] sum of the factors' precisions
    weighted: Tensor  # [B, L] sum of their means times their precisions
    z: Tensor  # [B, L] of this episode
    noise: Tensor  # [B, num_episodes, L] standard normal, from which each episode's z is made
    obs: Tensor  # [B, O] before the last step
    mask: Tensor  # [B] float: was that a step of an episode, and no padding?
    t: Tensor  # [B] int64 steps of the trial so far


def mlp(sizes: Sequence[int], activation: Activation) -> nn.Sequential:
    """Linear layers with an activation between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [Linear(inputs, outputs), nn.ReLU() if activation == "relu" else nn.Tanh()]
    return nn.Sequential(*layers[:-1])


class PosteriorNetwork(nn.Module):
    """Encoder and policy. In a trial, z is drawn anew whenever an episode starts.

    Args:
        prior_episodes: first episodes of a trial with z from the prior; the later ones draw it from the posterior given
            all earlier episodes of the trial.
        init_std: of actions before tanh.
        sees_next: has a transition its next observation, too? While acting, the last transition of an episode then
            gives no factor, since its next observation is not known.

    Raises:
        InputError: where actions are not numbers between bounds, or observations no vectors.
    """

    def __init__(
        self,
        env: Env,
        num_episodes: int,
        prior_episodes: int,
        latent_size: int,
        hidden_sizes: Sequence[int],
        encoder_sizes: Sequence[int],
        activation: Activation,
        init_std: float,
        sees_next: bool = False,
    ) -> None:
        super().__init__()
        seen, acted = env.observation_space, env.action_space
        require(
            isinstance(acted, spaces.Box) and len(acted.shape) == 1 and acted.is_bounded(),
            f"PEARL takes continuous actions between bounds, and those of {family_name(env)} are {in_words(acted)}; "
            "choose another method.",
        )
        require(
            is_vector(seen), f"PEARL takes observations that are vectors, and {family_name(env)} has {in_words(seen)}."
        )
        assert isinstance(acted, spaces.Box)
        self.horizon, self.num_steps, self.num_episodes = env.horizon, num_episodes * env.horizon, num_episodes
        self.prior_episodes, self.latent_size = prior_episodes, latent_size
        self.obs_size, self.action_size = seen.shape[0], acted.shape[0]
        low, high = torch.as_tensor(acted.low), torch.as_tensor(acted.high)
        self.register_buffer("middle", (low + high) / 2, persistent=False)
        self.register_buffer("reach", (high - low) / 2, persistent=False)
        self.middle: Tensor
        self.reach: Tensor
        self.sees_next = sees_next
        factor = self.obs_size * (2 if sees_next else 1) + self.action_size + 1
        self.encoder = mlp([factor, *encoder_sizes, 2 * latent_size], "relu")
        self.policy = mlp([self.obs_size + latent_size, *hidden_sizes, 2 * self.action_size], activation)
        last = self.policy[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():  # the first actions do not depend on what is seen
            last.weight.mul_(0.01)
            last.bias.copy_(torch.tensor([0.0, math.log(init_std)]).repeat_interleave(self.action_size))

    def act(self, obs: Tensor, z: Tensor) -> TanhGaussian:
        """The action distribution [...] at observations [..., O] with z [..., L]."""
        mean, log_std = self.policy(torch.cat([obs, z], -1)).chunk(2, -1)
        return TanhGaussian(mean, log_std.clamp(*LOG_STD), self.middle.expand_as(mean), self.reach.expand_as(mean))

    def unit_action(self, action: Tensor) -> Tensor:
        """An action [..., A] of the environment as numbers in [-1, 1], as encoder and critic see it."""
        return ((action - self.middle) / self.reach).clamp(-1, 1)

    def factors(self, obs: Tensor, action: Tensor, reward: Tensor, next_obs: Tensor) -> tuple[Tensor, Tensor]:
        """Precision, and mean times precision, of the factor of each transition: [..., L] each."""
        seen = [obs, action, reward.unsqueeze(-1), *([next_obs] if self.sees_next else [])]
        mean, raw = self.encoder(torch.cat(seen, -1)).chunk(2, -1)
        precision = functional.softplus(raw).clamp_min(LEAST_VARIANCE).reciprocal()
        return precision, mean * precision

    def known(self, mask: Tensor, after: Tensor, first: Tensor) -> Tensor:
        """Which steps [..., 1] give a factor: those with `mask` 1. `after` and `first` are those of the next step."""
        return ((mask > 0) & (after > 0) & ~first if self.sees_next else mask > 0).unsqueeze(-1)

    def posterior(self, obs: Tensor, action: Tensor, reward: Tensor, next_obs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance [..., L] of z given transitions [..., C, ...]."""
        precision, weighted = (x.sum(-2) for x in self.factors(obs, action, reward, next_obs))
        return weighted / precision, precision.reciprocal()

    def sums(self, inputs: StepInput) -> tuple[Tensor, Tensor]:
        """The memory's sums at each step of trials [B, T, ...], over the transitions before it: [B, T, L] each."""
        after = inputs.map(lambda x: x.roll(-1, 1))
        last = self.factors(inputs.obs, self.unit_action(after.prev_action), after.prev_reward, after.obs)
        known = self.known(inputs.mask, after.mask, after.first)
        precision, weighted = (functional.pad(torch.where(known, x, 0.0).cumsum(1)[:, :-1], (0, 0, 1, 0)) for x in last)
        return precision, weighted

    def z_of(self, precision: Tensor, weighted: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [..., L] of z given the memory's sums; where `prior`, without them."""
        safe = torch.where(prior, 1.0, precision)
        return torch.where(prior, 0.0, weighted) / safe, safe.rsqrt()

    def start(self, num_lanes: int, generator: Generator | None = None) -> Context:
        """The memory [B, ...] at the start of a trial. Without a generator z will be the mean of its distribution."""
        like = self.middle
        noise = like.new_zeros(num_lanes, self.num_episodes, self.latent_size)
        if generator is not None:
            noise = torch.randn(noise.shape, generator=generator, device=like.device)
        nothing = like.new_zeros(num_lanes, self.latent_size)
        obs, mask = like.new_zeros(num_lanes, self.obs_size), like.new_zeros(num_lanes)
        return Context(nothing, nothing, nothing, noise, obs, mask, mask.long())

    def step(self, inputs: StepInput, memory: Context | None) -> tuple[TanhGaussian, Context]:
        """One step of each lane: inputs [B, ...]; the memory is what `start` or the last step returned."""
        m = self.start(len(inputs)) if memory is None else memory
        last = self.factors(m.obs, self.unit_action(inputs.prev_action), inputs.prev_reward, inputs.obs)
        known = self.known(m.mask, inputs.mask, inputs.first)
        precision, weighted = (
            old + torch.where(known, new, 0.0) for old, new in zip((m.precision, m.weighted), last, strict=True)
        )
        episode = (m.t // self.horizon).clamp_max(self.num_episodes - 1)
        prior = (episode < self.prior_episodes).unsqueeze(-1) | (precision == 0)
        mean, std = self.z_of(precision, weighted, prior)
        noise = m.noise.gather(1, episode.view(-1, 1, 1).expand(-1, 1, self.latent_size)).squeeze(1)
        z = chosen(m.t % self.horizon == 0, mean + std * noise, m.z)
        after = Context(precision, weighted, z, m.noise, inputs.obs, inputs.mask, m.t + 1)
        return self.act(inputs.obs, z), after

    def distribution(self, outputs: TanhGaussian) -> TanhGaussian:
        """What `step` returns is one already."""
        return outputs

    def check_length(self, num_steps: int) -> None:
        """Raise `InputError` for a trial longer than those that the network was made for."""
        require(
            num_steps <= self.num_steps,
            f"A trial of {num_steps} steps is longer than the {self.num_steps} steps that this policy was made for; "
            "make it with more num_episodes.",
        )
