"""What optimizers of flat gradients share: the learning rate of an update, gradients of all processes, their norm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from metarl.backend.distributed import all_sum


def lr_at(lr: float, update: int, num_updates: int, warmup: float) -> float:
    """Learning rate of an update, counted from 0: rising over the fraction `warmup`, then falling linearly to 0."""
    rising = min(1.0, (update + 1) / max(1.0, warmup * num_updates))
    return lr * rising * max(0.0, 1 - update / max(1, num_updates))


def set_lr(optimizer: Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def flat_gradient(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Of a loss, of which each process has a part, [P]; 0 for parameters that it does not depend on."""
    parts = torch.autograd.grad(loss, parameters, materialize_grads=True)
    return all_sum(torch.cat([g.flatten() for g in parts]))


def scaled_down(gradient: Tensor, norm: Tensor, most: float) -> Tensor:
    """A gradient of that norm, or where it is larger, of the norm `most`."""
    return gradient * (most / (norm + 1e-6)).clamp_max(1.0)


def split(flat: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """A vector [P] in the parts of each parameter."""
    return flat.split([p.numel() for p in parameters])


def descend(optimizer: Optimizer, parameters: Sequence[Tensor], gradient: Tensor) -> None:
    """A step of the optimizer by a gradient [P] of these parameters."""
    for parameter, part in zip(parameters, split(gradient, parameters), strict=True):
        parameter.grad = part.view_as(parameter)
    optimizer.step()
