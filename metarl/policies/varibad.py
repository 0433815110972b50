"""VariBAD: a policy that sees what it believes about the task, and how certain it is (Zintgraf et al. 2020).

The belief is learned by a model of the trial's rewards (`metarl/policies/belief.py`) and not by the return: the policy
sees its mean and uncertainty beside the observation, and no gradient of PPO reaches the encoder unless `joint` says
so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from envs.core import Env
from envs.errors import require
from envs.fields import NonNegativeFloat, PositiveFloat, PositiveInt
from envs.kinds import in_words
from envs.structs import Struct
from metarl.backend.products import Linear
from metarl.policies.belief import Belief, Decoder, Encoder, Targets, Uncertainty, elbo_loss
from metarl.policies.encoders import encoder_of
from metarl.policies.mlp import NumUnits, StepInput
from metarl.policies.recurrent import Bonuses, MemoryConfig, ModelTraining, Outputs, TrialNetwork


@dataclass(frozen=True)
class VariBADConfig(MemoryConfig):
    """A policy on a belief about the task."""

    latent_size: NumUnits = 5
    """Dimensions of the latent that the belief is about."""
    hidden_size: NumUnits = 64
    """Units of the encoder's recurrent state."""
    policy_units: NumUnits = 128
    """Units of the policy's two hidden layers."""
    decoder_units: NumUnits = 64
    """Units of the decoder's two hidden layers."""
    decode: Literal["reward", "reward-and-transition", "nothing"] = "reward"
    """What the decoder predicts: the reward of each step; the next observation, too; nothing, with joint alone."""
    decode_from: Literal["transition", "next-observation"] = "transition"
    """What the decoder sees of a step: observation, action and next observation, or the last alone."""
    uncertainty: Uncertainty = "log-variance"
    """What the policy sees beside the belief's mean. Log variances, as published, have no bound: where the belief
    becomes very narrow a policy can run away with them, and standard deviations are safer."""
    joint: bool = False
    """Does PPO train the encoder, too?"""
    kl_coef: NonNegativeFloat = 1.0
    """Weight of the KL from each belief to the one before."""
    model_lr: PositiveFloat = 5e-3
    """Adam's learning rate of encoder and decoder; it falls linearly to 0 at the last meta-iteration."""
    model_updates: PositiveInt = 20
    """Their steps in a meta-iteration."""
    model_trials: PositiveInt = 50
    """Trials of a step."""
    belief_steps: PositiveInt = 8
    """Steps of a trial, drawn anew each time, whose beliefs are decoded."""
    decoded_steps: PositiveInt = 16
    """Steps of the trial, drawn likewise, that are predicted from each of these beliefs."""
    novelty_coef: NonNegativeFloat = 0.0
    """Weight of a bonus for new hyper-states in training (HyperX), relative to the return; it falls linearly to 0."""
    error_coef: NonNegativeFloat = 0.0
    """Weight of a bonus for steps that the model predicts badly, likewise."""
    init_std: PositiveFloat = 1.0
    """Initial standard deviation of continuous actions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.joint or self.decode != "nothing",
            "Without a decoder only the return teaches the belief; set joint, or decode something.",
        )
        require(
            self.error_coef == 0 or self.decode != "nothing",
            "error_coef rewards what the model predicts badly, and without a decoder there is none; leave it 0.",
        )

    def build(self, env: Env, num_episodes: int) -> VariBADNetwork:
        return VariBADNetwork(env, num_episodes, self)


@dataclass(frozen=True, eq=False)
class BeliefMemory(Struct):
    hidden: Tensor  # [B, H] of the encoder
    t: Tensor  # [B] int64 steps so far


class VariBADNetwork(TrialNetwork):
    """Step -> GRU -> belief; observation and belief -> two hidden layers -> action distribution and value."""

    def __init__(self, env: Env, num_episodes: int, config: VariBADConfig) -> None:
        super().__init__(env, num_episodes, config.init_std)
        c, size = config, config.policy_units
        self.config = config
        self.sight = encoder_of(env.observation_space)  # of the belief, as `encoder` is of the policy
        self.belief_encoder = Encoder(self.obs_size + self.num_step_features, c.hidden_size, c.latent_size)
        self.trunk = nn.Sequential(
            Linear(self.obs_size + 2 * c.latent_size, size), nn.SiLU(), Linear(size, size), nn.SiLU()
        )
        self.out, self.value_out = Linear(size, self.action_size), Linear(size, 1)
        for layer in (self.out, self.value_out):
            nn.init.orthogonal_(layer.weight, 0.01)
            nn.init.zeros_(layer.bias)
        if c.novelty_coef or c.error_coef:
            self.bonuses = Bonuses(c.novelty_coef, c.error_coef, self.obs_size + 2 * c.latent_size)
        if c.decode == "nothing":
            return
        require(
            c.decode == "reward" or self.sight is None,
            f"Only observations that are vectors can be predicted, and here they are "
            f"{in_words(env.observation_space)}; set decode to reward.",
        )
        before = self.obs_size + self.action_size
        num_seen = self.obs_size + (before + 1 if c.decode_from == "transition" else 0)
        self.decoders = nn.ModuleList([Decoder(c.latent_size, num_seen, 1, c.decoder_units)])
        if c.decode == "reward-and-transition":
            self.decoders.append(Decoder(c.latent_size, before, self.obs_size, c.decoder_units))
        self.model = ModelTraining(
            [p for m in (self.sight, self.belief_encoder, self.decoders) if m is not None for p in m.parameters()],
            c.model_lr,
            c.model_updates,
            c.model_trials,
            (c.belief_steps, c.latent_size),
            c.decoded_steps,
        )

    def see(self, inputs: StepInput, t: Tensor, obs: Tensor | None = None) -> Tensor:
        """What the encoder sees of a step, [..., I]; `obs` are its features, where they are known."""
        obs = self.features(inputs.obs, self.sight) if obs is None else obs
        obs = torch.where(inputs.mask.unsqueeze(-1) > 0, obs, 0.0)
        return torch.cat([obs, self.step_features(inputs, t)], -1)

    def decide(self, inputs: StepInput, belief: Belief) -> Outputs:
        features = belief.features(self.config.uncertainty)
        features = features if self.config.joint else features.detach()
        hidden = self.trunk(torch.cat([self.normalized_obs(inputs), features], -1))
        return Outputs(self.out(hidden), self.value_out(hidden).squeeze(-1))

    def beliefs(self, inputs: StepInput, obs: Tensor | None = None) -> Belief:
        """After each step of whole trials, inputs [B, T, ...]; `obs` as in `see`."""
        return self.belief_encoder(self.see(inputs, self.all_steps(inputs), obs))

    def forward(self, inputs: StepInput) -> Outputs:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.joint):
            belief = self.beliefs(inputs)
        return self.decide(inputs, belief)

    def start(self, num_lanes: int) -> BeliefMemory:
        hidden = self.free.new_zeros(num_lanes, self.config.hidden_size)
        return BeliefMemory(hidden, torch.zeros(num_lanes, dtype=torch.int64, device=hidden.device))

    def step(self, inputs: StepInput, memory: BeliefMemory | None) -> tuple[Outputs, BeliefMemory]:
        if memory is None:
            memory = self.start(len(inputs))
        belief, hidden = self.belief_encoder.step(self.see(inputs, memory.t), memory.hidden)
        return self.decide(inputs, belief), BeliefMemory(hidden, memory.t + 1)

    @torch.no_grad()
    def belief(self, inputs: StepInput) -> Tensor:
        belief = self.beliefs(inputs)
        return torch.stack([belief.mean, belief.std], 1)

    def targets(self, inputs: StepInput, obs: Tensor, action: Tensor, reward: Tensor) -> list[Targets]:
        """What each decoder is to predict of trials [B, T, ...], with features `obs` [B, T, O] of the observations.

        The observation after the last step of an episode was not kept, unless the episode ended before its time.
        """
        known = functional.pad((~inputs.first[:, 1:]).to(inputs.mask.dtype), (0, 1)) * inputs.mask
        after = torch.where(known.unsqueeze(-1) > 0, torch.cat([obs[:, 1:], obs[:, :1]], 1), 0.0)
        before = torch.cat([torch.where(inputs.mask.unsqueeze(-1) > 0, obs, 0.0), self.one_hot(action)], -1)
        target = self.normalizer.reward(reward).unsqueeze(-1)
        if self.config.decode_from == "transition":
            found = [Targets(torch.cat([before, after, known.unsqueeze(-1)], -1), target, inputs.mask)]
        else:
            found = [Targets(after, target, known)]
        return [*found, Targets(before, after, known)][: len(self.decoders)]

    def model_loss(
        self, inputs: StepInput, action: Tensor, reward: Tensor, noise: Tensor, at: Tensor, decoded: Tensor
    ) -> tuple[Tensor, Tensor]:
        obs = self.features(inputs.obs, self.sight)
        targets = self.targets(inputs, obs, action, reward)
        belief, kl_coef = self.beliefs(inputs, obs), self.config.kl_coef
        return elbo_loss(belief, self.decoders, targets, inputs.mask, noise, at, decoded, kl_coef)

    def explored(self, inputs: StepInput, action: Tensor, reward: Tensor) -> tuple[Tensor, Tensor]:
        obs = self.features(inputs.obs, self.sight)
        belief, error = self.beliefs(inputs, obs), torch.zeros_like(reward)
        seen = torch.where(inputs.mask.unsqueeze(-1) > 0, obs, 0.0)
        hyper_state = torch.cat([seen, belief.features(self.config.uncertainty)], -1)
        if self.config.error_coef:
            after = torch.cat([belief.mean[:, 1:], belief.mean[:, -1:]], 1).flatten(0, 1).unsqueeze(1)
            for decoder, t in zip(self.decoders, self.targets(inputs, obs, action, reward), strict=True):
                found = decoder(after, t.seen.flatten(0, 1).unsqueeze(1)).view_as(t.target)
                error = error + (found - t.target).square().mean(-1) * t.mask
        return hyper_state, error
