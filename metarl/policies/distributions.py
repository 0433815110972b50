"""Action distributions as Structs of tensors.

`torch.distributions` draws from the global random generator; here every draw takes an explicit one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from numpy.polynomial.hermite_e import hermegauss
from torch import Generator, Tensor
from torch.nn import functional

from envs.structs import Struct


class Distribution(Protocol):
    """What losses and rollouts need. Leading axes are arbitrary, written [...] here."""

    def sample(self, generator: Generator) -> Tensor: ...
    def mode(self) -> Tensor: ...
    def log_prob(self, action: Tensor) -> Tensor: ...
    def entropy(self) -> Tensor: ...
    def kl(self, other: Self) -> Tensor: ...
    def detach(self) -> Self: ...


@dataclass(frozen=True, eq=False)
class DiagGaussian(Struct):
    """Independent normal actions. Samples are not clipped: environments clip to their action space."""

    mean: Tensor  # [..., A]
    log_std: Tensor  # broadcastable to mean

    def sample(self, generator: Generator) -> Tensor:
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return torch.addcmul(self.mean, noise, self.log_std.exp())

    def mode(self) -> Tensor:
        return self.mean

    def log_prob(self, action: Tensor) -> Tensor:
        """[..., A] -> [...] natural logarithm of the density."""
        z = (action - self.mean) * torch.exp(-self.log_std)
        return -0.5 * z.square().sum(-1) - (self.log_std + 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1).expand(self.mean.shape[:-1])

    def kl(self, other: DiagGaussian) -> Tensor:
        """KL(self || other) [...]."""
        difference = (self.mean - other.mean) * torch.exp(-other.log_std)
        log_ratio = self.log_std - other.log_std
        return 0.5 * difference.square().sum(-1) + (0.5 * torch.expm1(2 * log_ratio) - log_ratio).sum(-1)

    def detach(self) -> DiagGaussian:
        return self.map(Tensor.detach)


FEW = 16
"""Fewer actions than these are a short axis."""


@dataclass(frozen=True, eq=False)
class TanhGaussian(Struct):
    """Actions between two bounds: independent normal numbers u, as middle + reach * tanh(u) (Haarnoja et al. 2018)."""

    mean: Tensor  # [..., A] of u
    log_std: Tensor  # [..., A] of u
    middle: Tensor  # [..., A] of the bounds
    reach: Tensor  # [..., A] half the distance between the bounds

    @property
    def normal(self) -> DiagGaussian:
        """The distribution of u."""
        return DiagGaussian(self.mean, self.log_std)

    def sample(self, generator: Generator) -> Tensor:
        return self.action(self.normal.sample(generator))

    def mode(self) -> Tensor:
        """The action of the most probable u."""
        return self.action(self.mean)

    def action(self, u: Tensor) -> Tensor:
        return self.middle + self.reach * u.tanh()

    def log_prob(self, action: Tensor) -> Tensor:
        """[..., A] -> [...]. On a bound, which a rounded sample may reach, the density is that close to it."""
        most = 1 - torch.finfo(action.dtype).eps
        return self.log_prob_of(((action - self.middle) / self.reach).clamp(-most, most).atanh())

    def log_prob_of(self, u: Tensor) -> Tensor:
        """Of the action that u gives."""
        return self.normal.log_prob(u) - (log_slope(u) + self.reach.log()).sum(-1)

    def entropy(self) -> Tensor:
        """By Gauss-Hermite quadrature in each dimension: there is no closed form."""
        nodes, weights = hermegauss(32)
        slopes = [
            w * log_slope(self.mean + x * self.log_std.exp())
            for x, w in zip(nodes.tolist(), weights.tolist(), strict=True)
        ]
        expected = torch.stack(slopes).sum(0) / math.sqrt(2 * math.pi)
        return self.normal.entropy() + (expected + self.reach.log()).sum(-1)

    def kl(self, other: TanhGaussian) -> Tensor:
        """KL(self || other) [...], between the same bounds."""
        return self.normal.kl(other.normal)

    def detach(self) -> TanhGaussian:
        return self.map(Tensor.detach)


def log_slope(u: Tensor) -> Tensor:
    """log(1 - tanh² u), also where tanh u rounds to 1."""
    return 2 * (math.log(2) - u - functional.softplus(-2 * u))


@dataclass(frozen=True, eq=False)
class Categorical(Struct):
    """One of A actions. `log_probs` are normalized."""

    log_probs: Tensor  # [..., A]

    @classmethod
    def from_logits(cls, logits: Tensor) -> Categorical:
        if logits.device.type != "cpu" or logits.shape[-1] >= FEW:
            return cls(torch.log_softmax(logits, -1))
        # The same numbers; along a short last axis PyTorch takes several times as long on the CPU as along the first.
        last = logits.dim() - 1  # counted from the front, as ONNX needs it
        return cls(torch.log_softmax(logits.movedim(last, 0), 0).movedim(0, last).contiguous())

    def sample(self, generator: Generator) -> Tensor:
        """[...] int64, by inverting the cumulative distribution: one random number for an action."""
        cumulative = self.log_probs.exp().cumsum(-1)
        total = cumulative[..., -1:]
        uniform = torch.empty_like(total).uniform_(generator=generator)  # in [0, 1)
        return (cumulative < (1 - uniform) * total).sum(-1)  # never an action of probability 0

    def mode(self) -> Tensor:
        return self.log_probs.argmax(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        return self.log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        return -(self.log_probs.exp() * self.log_probs).sum(-1)

    def kl(self, other: Categorical) -> Tensor:
        """KL(self || other) [...]."""
        return (self.log_probs.exp() * (self.log_probs - other.log_probs)).sum(-1)

    def detach(self) -> Categorical:
        return Categorical(self.log_probs.detach())


NEVER = -1e9
"""The logit of a value that does not exist. It is finite, so that zero times its logarithm is zero."""


@dataclass(frozen=True, eq=False)
class MultiCategorical(Struct):
    """D independent choices, each one of up to K: an action is [..., D] int64."""

    each: Categorical  # [..., D, K]

    @classmethod
    def from_logits(cls, logits: Sequence[Tensor]) -> MultiCategorical:
        """Of the logits [..., K] of each choice."""
        most = max(x.shape[-1] for x in logits)
        padded = [functional.pad(x, (0, most - x.shape[-1]), value=NEVER) for x in logits]
        return cls(Categorical.from_logits(torch.stack(padded, -2)))

    def sample(self, generator: Generator) -> Tensor:
        return self.each.sample(generator)

    def mode(self) -> Tensor:
        return self.each.mode()

    def log_prob(self, action: Tensor) -> Tensor:
        """[..., D] -> [...]."""
        return self.each.log_prob(action).sum(-1)

    def entropy(self) -> Tensor:
        return self.each.entropy().sum(-1)

    def kl(self, other: MultiCategorical) -> Tensor:
        """KL(self || other) [...]."""
        return self.each.kl(other.each).sum(-1)

    def detach(self) -> MultiCategorical:
        return MultiCategorical(self.each.detach())
