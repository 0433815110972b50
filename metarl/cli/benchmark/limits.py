"""How much work operations are, and how much of it this machine could do in a second."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, bmm_flop

from metarl.backend import products
from metarl.backend.cores import on_threads


@dataclass(frozen=True)
class Work:
    """Done by some operations, or possible in a second."""

    flops: float
    """Floating-point operations of matrix products; a multiplication and an addition are two."""
    bytes: float
    """Read and written by all operations, as if no result stayed in a cache for the next one."""


class Bytes(TorchDispatchMode):
    """Adds up the sizes of what operations read and write; views are free."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        read = {id(x): x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}.values()
        written = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        places = {x.untyped_storage().data_ptr() for x in read}
        view = not func._schema.is_mutable and any(x.untyped_storage().data_ptr() in places for x in written)
        if not view:
            self.total += sum(x.nbytes for x in (*read, *written))
        return result


def count(function: Callable[[], Any]) -> Work:
    """The work of one call."""
    others: dict[Any, Any] = {torch.ops.aten.baddbmm_: lambda x, a, b, out_shape=None, **kwargs: bmm_flop(a, b)}
    if products.AVAILABLE:
        by_onednn = torch.ops.mkldnn._linear_pointwise
        others[by_onednn] = lambda x, *_, out_shape=None, **kwargs: 2 * x[1] * math.prod(out_shape)
    counter = FlopCounterMode(display=False, custom_mapping=others)
    with on_threads(1), counter as flops, Bytes() as nbytes:  # which see what their own thread does
        function()
    return Work(flops.get_total_flops(), nbytes.total)


def limits(device: str, size: int = 2048, length: int = 2**25) -> Work:
    """What the machine does in a second at best: a product of two square float32 matrices, a sum of long vectors."""
    a, b = torch.randn(2, size, size, device=device)
    x, y, z = torch.randn(3, length, device=device)
    return Work(
        2 * size**3 / _best(lambda: torch.mm(a, b), device),
        3 * x.nbytes / _best(lambda: torch.add(x, y, out=z), device),
    )


def _best(work: Callable[[], Any], device: str, repeats: int = 7) -> float:
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
