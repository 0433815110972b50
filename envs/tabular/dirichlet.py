"""Dirichlet draws that take a generator, without underflow. Marsaglia & Tsang 2000."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def sample_dirichlet(concentration: Tensor, generator: Generator) -> Tensor:
    """Draws from Dirichlet distributions along the last axis; `concentration` [..., S] is positive.

    A Dirichlet draw is a row of Gamma draws divided by its sum; here in logarithms, since Gamma draws of a small shape
    underflow. `torch.distributions` would take no generator.
    """
    shape = concentration.float().flatten()
    log_gamma = _log_exponential(shape, generator)  # of shape 1: most of a posterior's
    other = (shape != 1).nonzero().squeeze(-1)
    log_gamma[other] = _sample_log_gamma(shape[other], generator)
    return log_gamma.view(concentration.shape).softmax(-1)


def sample_uniform_simplex(like: Tensor, generator: Generator) -> Tensor:
    """The same numbers as `sample_dirichlet` of ones, in the shape of `like`; the host need not wait for a device."""
    return _log_exponential(like, generator).softmax(-1)


def _log_exponential(like: Tensor, generator: Generator) -> Tensor:
    """Logarithms of Gamma draws of shape 1."""
    uniform = torch.rand(like.shape, generator=generator, device=like.device)
    return (-torch.log1p(-uniform)).log()


def _sample_log_gamma(shape: Tensor, generator: Generator) -> Tensor:
    """Logarithms of Gamma draws, [L]: the method of Marsaglia & Tsang 2000 for `shape` + 1, times U^(1 / `shape`)."""
    log_gamma = torch.empty_like(shape)
    todo = torch.arange(len(shape), device=shape.device)
    while len(todo):  # at most one draw in twenty is rejected
        d = shape[todo] + 2 / 3
        x = torch.randn(d.shape, generator=generator, device=d.device)
        v = (1 + x / (9 * d).sqrt()).clamp_min(0) ** 3
        uniform = torch.rand(d.shape, generator=generator, device=d.device)
        accepted = uniform.log() < x.square() / 2 + d * (1 - v + v.log())  # never where v = 0
        log_gamma[todo[accepted]] = (d * v).log()[accepted]
        todo = todo[~accepted]
    uniform = torch.rand(shape.shape, generator=generator, device=shape.device)
    return log_gamma + torch.log1p(-uniform) / shape
