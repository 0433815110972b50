"""Matrix products on the CPU by oneDNN, where that is faster than what PyTorch calls.

On AMD's processors with AVX-512, MKL reaches half of the rate of oneDNN, which PyTorch has for float32 as an operator
that compiled code calls. It takes and returns plain tensors, so its derivative is written here. Everywhere else these
functions are PyTorch's own. Results are the same up to rounding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

SMALLEST = 2**20
"""Multiplications of a product; in smaller ones the call costs more than it gains."""
SMALLEST_RECORDED = 2**23
"""The same where a gradient is recorded, which takes some 20 microseconds of Python."""
FEWEST_ROWS = 16


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
by_onednn: Callable[[Tensor, Tensor, Tensor | None], Tensor] = functional.linear
"""x [B, I] times weight [O, I], transposed, plus bias [O]: [B, O]. PyTorch's own where oneDNN's is unknown."""
if AVAILABLE:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        by_onednn = torch.jit.script(_by_onednn)  # so that `traced_step` can record it


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., I] times weight [O, I], transposed, plus bias [O]: [..., O]. The rows of either may have gaps."""
    rows = x.flatten(0, -2) if x.dim() > 2 else x
    odd = x.dim() < 2 or (bias is not None and bias.shape != weight.shape[:1])
    if odd or torch.compiler.is_compiling() or not worthwhile(rows, weight.mT):
        return functional.linear(x, weight, bias)
    bias = bias if bias is None else bias.contiguous()  # oneDNN takes no account of gaps
    if not (weight.is_contiguous() or weight.mT.is_contiguous()):
        weight = weight.contiguous()  # oneDNN takes 20 times as long where it has gaps
    if not _recorded(x, weight, bias):
        y = by_onednn(rows, weight, bias)
    elif rows.numel() * len(weight) >= SMALLEST_RECORDED:
        y = _Recorded.apply(rows, weight, bias)
    else:
        return functional.linear(x, weight, bias)
    return y if x.dim() == 2 else y.unflatten(0, x.shape[:-1])


class _Recorded(torch.autograd.Function):
    """`linear` where a gradient is asked for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return by_onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            linear(grad, weight.mT) if of_x else None,
            linear(grad.mT, x.mT) if of_weight else None,
            grad.sum(0) if of_bias else None,
        )


class Linear(nn.Linear):
    """`torch.nn.Linear` by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def bmm(a: Tensor, b: Tensor) -> Tensor:
    """a [N, I, J] times b [N, J, K], for each task.

    By oneDNN on one thread only: it divides the product of one task among threads, where MKL gives each of them its own
    tasks.
    """
    plain = torch.get_num_threads() > 1 or torch.compiler.is_compiling() or _recorded(a, b)
    if plain or not worthwhile(a, b):
        return torch.bmm(a, b)
    return torch.stack([by_onednn(one, other.mT, None) for one, other in zip(a, b, strict=True)])


def _recorded(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)


def worthwhile(a: Tensor, b: Tensor) -> bool:
    """Is the product of a [..., I, J] and b [..., J, K] faster by oneDNN?"""
    rows, inner, columns = *a.shape[-2:], b.shape[-1]
    large = min(rows, inner, columns) >= FEWEST_ROWS and rows * inner * columns >= SMALLEST
    return AVAILABLE and large and a.device.type == "cpu" and a.dtype == torch.float32
