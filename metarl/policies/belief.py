"""A Gaussian belief about the task of a trial, and the model that it is learned with (Zintgraf et al. 2020, section 3).

A recurrent encoder reads a trial and gives after each step t the parameters of q(m | τ:t), a diagonal Gaussian over a
latent m of a few dimensions. A decoder predicts the rewards of the whole trial, past and future, from samples of it
(equation 8). With squared errors, which are log-likelihoods of a Gaussian with variance 1/2 but for a constant,

    ELBO_t = -Σ_i (r_i - r(s_i, a_i, s_i+1, m))² - KL(q(m | τ:t) || q(m | τ:t-1)),      m ~ q(m | τ:t),

where the belief before the first step is N(0, 1), and the loss is -Σ_t ELBO_t. Where next observations are predicted,
each counts by the mean of its numbers' squared errors, and so as much as a reward.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from envs.structs import Struct
from metarl.backend.products import Linear
from metarl.policies.cells.gru import next_state, states

Uncertainty = Literal["std", "log-variance"]
"""The numbers that tell a policy how uncertain a belief is."""


@dataclass(frozen=True, eq=False)
class Belief(Struct):
    """A diagonal Gaussian for each step."""

    mean: Tensor  # [..., L]
    log_variance: Tensor  # [..., L]

    def sample(self, noise: Tensor) -> Tensor:
        """From standard normal noise of the same shape."""
        return self.mean + self.std * noise

    def features(self, uncertainty: Uncertainty) -> Tensor:
        """Its parameters in one vector, [..., 2 L]: means, and standard deviations or log variances."""
        return torch.cat([self.mean, self.log_variance if uncertainty == "log-variance" else self.std], -1)

    @property
    def std(self) -> Tensor:
        """Standard deviations [..., L]."""
        return (self.log_variance / 2).exp()


@dataclass(frozen=True, eq=False)
class Targets(Struct):
    """What a decoder is to predict of each step of trials, and from what."""

    seen: Tensor  # [B, T, S] inputs of the decoder besides m
    target: Tensor  # [B, T, Y] in standard deviations
    mask: Tensor  # [B, T] float: 0 for steps that are not predicted


def kl_to_previous(belief: Belief) -> Tensor:
    """KL(q_t || q_t-1) for each step of trials [B, T]; of the first to N(0, 1)."""
    previous = belief.map(lambda x: functional.pad(x[:, :-1], (0, 0, 1, 0)))
    change = belief.log_variance - previous.log_variance
    distance = (belief.mean - previous.mean).square() * (-previous.log_variance).exp()
    return 0.5 * (change.exp() + distance - 1 - change).sum(-1)


class Encoder(nn.Module):
    """Inputs of each step -> GRU -> belief."""

    def __init__(self, num_inputs: int, hidden_size: int, latent_size: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(Linear(num_inputs, hidden_size), nn.SiLU())
        self.gru = nn.GRU(hidden_size, hidden_size, batch_first=True)
        self.out = Linear(hidden_size, 2 * latent_size)
        nn.init.orthogonal_(self.gru.get_parameter("weight_hh_l0"))
        nn.init.orthogonal_(self.out.weight, 0.1)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Belief:
        """Of whole trials, x [B, T, I]: after each step."""
        return self.belief(states(self.gru, self.embed(x)))

    def step(self, x: Tensor, hidden: Tensor) -> tuple[Belief, Tensor]:
        """After one more step x [B, I]; and the state [B, H]."""
        hidden = next_state(self.gru, self.embed(x), hidden)
        return self.belief(hidden), hidden

    def belief(self, hidden: Tensor) -> Belief:
        return Belief(*self.out(hidden).chunk(2, -1))


class Decoder(nn.Module):
    """A latent m and what is seen of a step -> what is predicted of it, for all pairs of a latent and a step."""

    def __init__(self, latent_size: int, num_seen: int, num_targets: int, units: int) -> None:
        super().__init__()
        self.of_latent, self.of_step = Linear(latent_size, units, bias=False), Linear(num_seen, units)
        self.rest = nn.Sequential(nn.SiLU(), Linear(units, units), nn.SiLU(), Linear(units, num_targets))

    def forward(self, latent: Tensor, seen: Tensor) -> Tensor:
        """Latents [B, K, L] and steps [B, D, S] -> predictions [B, K, D, Y]."""
        return self.rest(self.of_latent(latent).unsqueeze(2) + self.of_step(seen).unsqueeze(1))


def elbo_loss(
    belief: Belief,
    decoders: Iterable[nn.Module],
    targets: Iterable[Targets],
    mask: Tensor,
    noise: Tensor,
    at: Tensor,
    decoded: Tensor,
    kl_coef: float,
) -> tuple[Tensor, Tensor]:
    """-Σ_t ELBO_t / T² of each trial [B]; and [B, 4] for the metrics.

    The errors at some steps, decoded from the beliefs at some others, are counted as many times as there are, which
    estimates the whole without bias. The KL is of all steps, also of padding, where a belief should not move; nothing
    is decoded from beliefs there.

    Args:
        belief: [B, T, L] after each step.
        decoders, targets: a `Decoder` for each of what is predicted.
        mask: [B, T] float, 0 in padding.
        noise: [B, K, L], standard normal.
        at: [K] steps whose beliefs are decoded.
        decoded: [D] steps that each of them predicts.

    Returns:
        The loss; and the sum of squared errors, their number, Σ_t KL_t, and the last belief's mean standard deviation.
    """
    latent, counted = belief.map(lambda x: x[:, at]).sample(noise), mask[:, at]
    sums = torch.zeros_like(latent[:, 0, :2])
    for decoder, whole in zip(decoders, targets, strict=True):
        part = whole.map(lambda x: x[:, decoded])
        weight = counted.unsqueeze(2) * part.mask.unsqueeze(1)  # [B, K, D]
        error = (decoder(latent, part.seen) - part.target.unsqueeze(1)).square().mean(-1) * weight
        sums = sums + torch.stack([error.sum((1, 2)), weight.sum((1, 2))], -1)
    kl, num_steps = kl_to_previous(belief).sum(1), belief.mean.shape[1]
    loss = sums[:, 0] / (len(at) * len(decoded)) + kl_coef * kl / num_steps**2
    std = belief.std[:, -1].mean(-1)
    return loss, torch.cat([sums, torch.stack([kl, std], -1)], -1).detach()
