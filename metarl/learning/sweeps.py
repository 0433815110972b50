"""Sweeps through a fully connected network: activations, their tangents, and errors.

An operation on all tasks at once moves its result to memory, and the next one fetches it from there. On one thread of a
CPU a sweep therefore takes one task after another, whose intermediate results stay in a cache, in a loop compiled by
TorchScript, without Python between its operations. Both ways call the same functions.

Layers are [N, H, I + 1], with the bias in the last column. Layer k sees x[k], [N, I + 1, B] with a last row of ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from metarl.backend import products

FEWEST_SAMPLES = 500
"""Of a task; with fewer, those of all tasks stay in a cache."""


def activations(layers: list[Tensor], x: list[Tensor], slope: list[Tensor], kind: str) -> None:
    """Writes activations, "tanh" or "relu", into x[1], x[2], ... and their derivatives [N, H, B] into `slope`."""
    _call(_activations, x[0], layers, x, slope, kind)


def tangents(layers: list[Tensor], x: list[Tensor], slope: list[Tensor], x_dot: list[Tensor]) -> Tensor:
    """Writes tangents of hidden activations [N, H, B] into `x_dot`, and returns those of the outputs [N, A, B].

    Layers are tangents of weights, or weights beside these where x[k] has rows for x_dot[k - 1] above.
    """
    return _call(_tangents, x[0], layers, x, slope, x_dot)


def errors(
    d: Tensor,
    layers: list[Tensor],
    x: list[Tensor],
    slope: list[Tensor],
    above: Sequence[Tensor] = (),
    x_dot: Sequence[Tensor] = (),
    curve: Sequence[Tensor] = (),
) -> list[Tensor]:
    """From errors at the outputs d [N, A, B] to gradients [N, H, I + 1]: sums over samples of errors times x.

    Args:
        layers: weights without biases, from the second layer on.
        above: for a Hessian product, where d are tangents of errors: the errors at these layers, which tangents below
            their weights bring down; [N, 0, B] where that is counted elsewhere.
        x_dot: what `tangents` wrote.
        curve: [N, H, B], what multiplies x_dot in the tangents of errors.
    """
    return _call(_backward, x[0], d, layers, x, slope, list(above), list(x_dot), list(curve), [])[::-1]


def curves(
    d: Tensor, layers: list[Tensor], x: list[Tensor], slope: list[Tensor], below: list[Tensor], curve: list[Tensor]
) -> list[Tensor]:
    """`errors`, which also writes what Hessian products need, [N, H, B].

    Errors at hidden layers go into `below`. For tanh, errors at activations times -2 tanh, its second derivative by the
    first, go into `curve`, which is empty for relu.
    """
    return _call(_backward, x[0], d, layers, x, slope, [], [], curve, below)[::-1]


def _call(function: Callable[..., Any], like: Tensor, *arguments: Any) -> Any:
    """On one thread of a CPU by task, otherwise all tasks at once. No gradient is recorded."""
    with torch.no_grad():
        if like.device.type != "cpu" or torch.get_num_threads() > 1 or like.shape[-1] < FEWEST_SAMPLES:
            return function(*arguments, False)
        with torch.jit.optimized_execution(False):
            return _BY_TASK[function](*arguments, products.AVAILABLE and like.dtype == torch.float32)


def _product(a: Tensor, b: Tensor, onednn: bool) -> Tensor:
    """a [N, I, J] times b [N, J, K]; large ones by oneDNN where it may be used, with N = 1."""
    rows, inner, columns = a.size(1), a.size(2), b.size(2)
    if onednn and min(rows, min(inner, columns)) >= 16 and rows * inner * columns >= 2**20:
        return products.by_onednn(a[0], b[0].t(), None).unsqueeze(0)
    return torch.bmm(a, b)


def _outer(d: Tensor, x: Tensor, onednn: bool) -> Tensor:
    """Sums over samples of d [N, H, B] times x [N, I, B]: [N, H, I]. The narrower one comes first, which is faster."""
    if x.size(1) >= d.size(1):
        return _product(d, x.transpose(1, 2), onednn)
    return _product(x, d.transpose(1, 2), onednn).transpose(1, 2)


def _activations(layers: list[Tensor], x: list[Tensor], slope: list[Tensor], kind: str, onednn: bool) -> None:
    for k in range(len(slope)):
        y, one = x[k + 1][:, :-1], slope[k].new_ones([1])
        if kind == "relu":
            torch.clamp_min(_product(layers[k], x[k], onednn), 0, out=y)
            slope[k].copy_(y > 0)
        else:  # tanh z = 2 σ(2z) - 1, which PyTorch computes several times as fast on the CPU
            torch.add(-one, _product(2 * layers[k], x[k], onednn).sigmoid_(), alpha=2, out=y)
            torch.addcmul(one, y, y, value=-1, out=slope[k])


def _tangents(layers: list[Tensor], x: list[Tensor], slope: list[Tensor], x_dot: list[Tensor], onednn: bool) -> Tensor:
    for k in range(len(slope)):
        torch.mul(_product(layers[k], x[k], onednn), slope[k], out=x_dot[k])
    return _product(layers[-1], x[-1], onednn)


def _errors(
    d: Tensor,
    layers: list[Tensor],
    x: list[Tensor],
    slope: list[Tensor],
    above: list[Tensor],
    x_dot: list[Tensor],
    curve: list[Tensor],
    onednn: bool,
) -> list[Tensor]:
    found = [_outer(d, x[-1], onednn)]
    for k in range(len(slope) - 1, -1, -1):
        if len(above) > 0 and above[k].size(1) > 0:
            found[-1][:, :, :-1].add_(_outer(above[k], x_dot[k], onednn))
            d = torch.cat([d, above[k]], 1)
        d = _product(layers[k].transpose(1, 2), d, onednn).mul_(slope[k])
        if len(curve) > 0:
            d.addcmul_(curve[k], x_dot[k])
        found.append(_outer(d, x[k], onednn))
    return found


def _curves(
    d: Tensor,
    layers: list[Tensor],
    x: list[Tensor],
    slope: list[Tensor],
    curve: list[Tensor],
    below: list[Tensor],
    onednn: bool,
) -> list[Tensor]:
    found = [_outer(d, x[-1], onednn)]
    for k in range(len(slope) - 1, -1, -1):
        e = _product(layers[k].transpose(1, 2), d, onednn)
        d = torch.mul(e, slope[k], out=below[k])
        if len(curve) > 0:
            torch.mul(e.mul_(-2), x[k + 1][:, :-1], out=curve[k])
        found.append(_outer(d, x[k], onednn))
    return found


def _backward(
    d: Tensor,
    layers: list[Tensor],
    x: list[Tensor],
    slope: list[Tensor],
    above: list[Tensor],
    x_dot: list[Tensor],
    curve: list[Tensor],
    below: list[Tensor],
    onednn: bool,
) -> list[Tensor]:
    if len(below) > 0:
        return _curves(d, layers, x, slope, curve, below, onednn)
    return _errors(d, layers, x, slope, above, x_dot, curve, onednn)


def _task(n: int, x: list[Tensor]) -> list[Tensor]:
    return [tensor[n : n + 1] for tensor in x]


def _activations_by_task(layers: list[Tensor], x: list[Tensor], slope: list[Tensor], kind: str, onednn: bool) -> None:
    for n in range(x[0].size(0)):
        _activations(_task(n, layers), _task(n, x), _task(n, slope), kind, onednn)


def _tangents_by_task(
    layers: list[Tensor], x: list[Tensor], slope: list[Tensor], x_dot: list[Tensor], onednn: bool
) -> Tensor:
    tasks = range(x[0].size(0))
    return torch.cat(
        [_tangents(_task(n, layers), _task(n, x), _task(n, slope), _task(n, x_dot), onednn) for n in tasks]
    )


def _backward_by_task(
    d: Tensor,
    layers: list[Tensor],
    x: list[Tensor],
    slope: list[Tensor],
    above: list[Tensor],
    x_dot: list[Tensor],
    curve: list[Tensor],
    below: list[Tensor],
    onednn: bool,
) -> list[Tensor]:
    found: list[list[Tensor]] = [[] for _ in x]
    for n in range(d.size(0)):
        down, seen, slopes = _task(n, layers), _task(n, x), _task(n, slope)
        beside, dots, curved, under = _task(n, above), _task(n, x_dot), _task(n, curve), _task(n, below)
        own = _backward(d[n : n + 1], down, seen, slopes, beside, dots, curved, under, onednn)
        for k in range(len(own)):
            found[k].append(own[k])
    return [torch.cat(tasks) for tasks in found]


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _BY_TASK: dict[Callable[..., Any], Callable[..., Any]] = {
        _activations: torch.jit.script(_activations_by_task),
        _tangents: torch.jit.script(_tangents_by_task),
        _backward: torch.jit.script(_backward_by_task),
    }
