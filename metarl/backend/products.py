"""Matrix products on the CPU by oneDNN, where that is faster than what PyTorch calls.

On AMD's processors with AVX-512, MKL reaches half of the rate of oneDNN, which PyTorch has for float32 as an operator
that compiled code calls. It takes and returns plain tensors. Everywhere else these functions are PyTorch's own, and so
they are where a gradient is recorded. Results are the same up to rounding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

SMALLEST = 2**20
"""Multiplications of a product; in smaller ones the call costs more than it gains."""
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
    """x [B, I] times weight [O, I], transposed, plus bias [O]: [B, O]. There may be gaps between the rows of `x`."""
    if not _suits(x, weight.mT):
        return functional.linear(x, weight, bias)
    return by_onednn(x, weight, bias)


def bmm(a: Tensor, b: Tensor) -> Tensor:
    """a [N, I, J] times b [N, J, K], for each task.

    By oneDNN on one thread only: it divides the product of one task among threads, where MKL gives each of them its own
    tasks.
    """
    if torch.get_num_threads() > 1 or not _suits(a, b):
        return torch.bmm(a, b)
    return torch.stack([by_onednn(one, other.mT, None) for one, other in zip(a, b, strict=True)])


def _suits(a: Tensor, b: Tensor) -> bool:
    """Is the product of a [..., I, J] and b [..., J, K] one for oneDNN, called from here?"""
    recorded = torch.is_grad_enabled() and (a.requires_grad or b.requires_grad)
    return worthwhile(a, b) and not torch.compiler.is_compiling() and not recorded


def worthwhile(a: Tensor, b: Tensor) -> bool:
    """Is the product of a [..., I, J] and b [..., J, K] faster by oneDNN?"""
    rows, inner, columns = *a.shape[-2:], b.shape[-1]
    large = min(rows, inner, columns) >= FEWEST_ROWS and rows * inner * columns >= SMALLEST
    return AVAILABLE and large and a.device.type == "cpu" and a.dtype == torch.float32
