"""Action distributions as Structs of tensors.

`torch.distributions` draws from the global random generator; here every draw takes an explicit one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
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


@dataclass(frozen=True, eq=False)
class Categorical(Struct):
    """One of A actions. `log_probs` are normalized."""

    log_probs: Tensor  # [..., A]

    @classmethod
    def from_logits(cls, logits: Tensor) -> Categorical:
        return cls(torch.log_softmax(logits, -1))

    def sample(self, generator: Generator) -> Tensor:
        """[...] int64, by the Gumbel-max trick."""
        exponential = torch.empty_like(self.log_probs).exponential_(generator=generator)
        return (self.log_probs - exponential.log()).argmax(-1)

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
