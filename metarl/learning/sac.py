"""The losses of soft actor-critic on batches of tasks (Haarnoja et al. 2018), with a latent variable z of the task."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor, nn

from metarl.policies.distributions import TanhGaussian


class TwinQ(nn.Module):
    """Two action values of the same shape, made by `build`."""

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.first, self.second = build(), build()

    def forward(self, obs: Tensor, action: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """obs [..., O], action [..., A] in [-1, 1], z [..., L] -> [...] each."""
        x = torch.cat([obs, action, z], -1)
        return self.first(x).squeeze(-1), self.second(x).squeeze(-1)


def draw(distribution: TanhGaussian, generator: Generator) -> tuple[Tensor, Tensor]:
    """An action in [-1, 1] and the logarithm of its density there; gradients pass through both."""
    normal = distribution.normal
    u = normal.sample(generator)
    unit = TanhGaussian(
        normal.mean, normal.log_std, torch.zeros_like(distribution.middle), torch.ones_like(distribution.reach)
    )
    return u.tanh(), unit.log_prob_of(u)


def critic_target(
    reward: Tensor,
    terminated: Tensor,
    next_values: tuple[Tensor, Tensor],
    log_prob: Tensor,
    alpha: Tensor,
    gamma: float,
) -> Tensor:
    """r + γ (1 - terminated) (min Q(s', a') - α log π(a' | s')), [N, B] as all that is given.

    Args:
        next_values: of the target networks, for an action a' that the policy draws after the step.
        log_prob: of that action.
    """
    soft = torch.minimum(*next_values) - alpha * log_prob
    return reward + gamma * (1 - terminated) * soft


def critic_loss(values: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    """The sum of both squared errors, averaged."""
    return sum(((value - target).square().mean() for value in values), torch.zeros_like(target[0, 0]))


def actor_loss(values: tuple[Tensor, Tensor], log_prob: Tensor, alpha: Tensor) -> Tensor:
    """α log π(a | s) - min Q(s, a), averaged."""
    return (alpha * log_prob - torch.minimum(*values)).mean()


@torch.no_grad()
def follow(target: nn.Module, source: nn.Module, tau: float) -> None:
    """Polyak averaging: each parameter of `target` moves by the fraction `tau` towards that of `source`."""
    torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), tau)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, parameters: Sequence[Tensor]) -> None:
    """One step on a loss that moves these parameters and none of the others that it depends on."""
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimizer.step()
