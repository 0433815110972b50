"""A GRU over whole trials on the CPU, with its derivative written out (Cho et al. 2014; gates as in `torch.nn.GRU`).

r = σ(i_r + h_r)      z = σ(i_z + h_z)      n = tanh(i_n + r h_n)      h' = (1 - z) n + z h

where i = W_ih x + b_ih of a step and h_* = W_hh h + b_hh of the state before it. Autograd adds up the weights' gradient
step by step, in as many products of small matrices; here it is one product for all steps at the end.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from metarl.backend.compiled import fused
from metarl.backend.products import linear


def gru_step(x: Tensor, hidden: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
    """The state [B, H] after one step: x [B, I], and w_ih, w_hh, b_ih, b_hh as `torch.nn.GRU` has them."""
    w_ih, w_hh, b_ih, b_hh = weights
    return advance(linear(x, w_ih, b_ih), linear(hidden, w_hh, b_hh), hidden)


def advance(gates: Tensor, recurrent: Tensor, hidden: Tensor) -> Tensor:
    """The state after a step [B, H]. `gates` [B, 3 H], at first i, then holds r, z and n, unless it is compiled."""
    size = hidden.shape[-1]
    if torch.compiler.is_compiling():  # a compiler makes one loop of it, if nothing is written in place
        _, z, n = opened(gates, recurrent)
        return torch.lerp(n, hidden, z)
    both, n = gates[:, : 2 * size], gates[:, 2 * size :]
    both.add_(recurrent[:, : 2 * size]).sigmoid_()
    n.addcmul_(both[:, :size], recurrent[:, 2 * size :])
    n.mul_(2).sigmoid_().mul_(2).sub_(1)  # tanh, which PyTorch computes slowly on the CPU
    return torch.lerp(n, hidden, both[:, size:])


def opened(gates: Tensor, recurrent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """r, z and n [B, H] from i and W_hh h + b_hh [B, 3 H], with nothing written in place."""
    (i_r, i_z, i_n), (h_r, h_z, h_n) = gates.chunk(3, -1), recurrent.chunk(3, -1)
    r, z = (i_r + h_r).sigmoid(), (i_z + h_z).sigmoid()
    return r, z, 2 * (2 * (i_n + r * h_n)).sigmoid() - 1


def forward_step(gates: Tensor, recurrent: Tensor, before: Tensor, after: Tensor) -> list[Tensor]:
    """`advance` that writes: `gates`, at first i, then holds r, z and n, and `after` the state."""
    if torch.compiler.is_compiling():
        r, z, n = opened(gates, recurrent)
        gates.copy_(torch.cat([r, z, n], -1))
        after.copy_(torch.lerp(n, before, z))
    else:
        after.copy_(advance(gates, recurrent, before))
    return []


def backward_step(
    error: Tensor, grad: Tensor, carried: Tensor, gates: Tensor, before: Tensor, recurrent: Tensor
) -> list[Tensor]:
    """Writes the gradients of r h_n, and of r, z and n before their activations, into `error` [B, 4 H].

    Returns what the state before has of the gradient of the state after [B, H], `grad` and `carried`, directly.
    """
    size = grad.shape[-1]
    carried = carried + grad
    r, z, n = gates.split(size, -1)
    kept = carried * z
    free = carried - kept
    if torch.compiler.is_compiling():
        e_n = free - free * n * n
        e_r, e_z = e_n * recurrent[:, 2 * size :], carried * (before - n)
        error.copy_(torch.cat([e_n * r, e_r * r * (1 - r), e_z * z * (1 - z), e_n], -1))
        return [kept]
    e_rn, e_r, e_z, e_n = error.split(size, -1)
    torch.addcmul(free, free * n, n, value=-1, out=e_n)
    torch.mul(e_n, recurrent[:, 2 * size :], out=e_r)
    torch.mul(carried, before - n, out=e_z)
    both, open_ = error[:, size : 3 * size], gates[:, : 2 * size]
    both.mul_(open_)
    both.addcmul_(both, open_, value=-1)
    torch.mul(e_n, r, out=e_rn)
    return [kept]


class GRUSequence(torch.autograd.Function):
    """x [B, T, I], w_ih, w_hh, b_ih, b_hh -> states after each step [B, T, H], from a state of zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
        x = x.transpose(0, 1).contiguous()
        gates = linear(x.flatten(0, 1), w_ih, b_ih).view(*x.shape[:2], -1)  # [T, B, 3 H]
        states = x.new_zeros(len(x) + 1, x.shape[1], w_hh.shape[1])
        step = fused(forward_step, gates[0], gates[0], states[0], states[0])
        recurrent = []
        for i, before, after in zip(gates, states, states[1:], strict=False):
            recurrent.append(linear(before, w_hh, b_hh))
            step(i, recurrent[-1], before, after)
        ctx.save_for_backward(x, w_ih, w_hh, gates, states, *recurrent)
        return states[1:].transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, w_ih, w_hh, gates, states, *recurrent = ctx.saved_tensors
        size, grad = w_hh.shape[1], grad.transpose(0, 1).contiguous()
        # columns: of r h_n, of r, of z, of n before their activations; i has the last three, W_hh h the first three
        errors = x.new_empty(*x.shape[:2], 4 * size)
        turned = torch.cat([w_hh[2 * size :], w_hh[: 2 * size]]).T.contiguous()
        carried = torch.zeros_like(states[0])
        step = fused(backward_step, errors[0], carried, carried, gates[0], carried, gates[0])
        columns = (column.unbind(0)[::-1] for column in (errors, grad, gates, states[:-1]))
        for error, g, gate, before, h in zip(*columns, recurrent[::-1], strict=True):
            (kept,) = step(error, g, carried, gate, before, h)
            carried = kept.add_(linear(error[:, : 3 * size], turned))
        flat, rows = errors.flatten(0, 1), x.flatten(0, 1)
        of_input, of_state = flat[:, size:], flat[:, : 3 * size]
        d_hh, d_bias = of_state.T @ states[:-1].flatten(0, 1), flat.sum(0)
        back = torch.cat([d_hh[size:], d_hh[:size]])
        return (
            linear(of_input, w_ih.T.contiguous()).view_as(x).transpose(0, 1),
            of_input.T @ rows,
            back,
            d_bias[size:],
            torch.cat([d_bias[size : 3 * size], d_bias[:size]]),
        )
