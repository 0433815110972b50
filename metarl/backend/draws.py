"""Random numbers drawn before a function rather than within it: the same ones, in the same order.

What is left is a function of tensors alone, which can be compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor
from torch.overrides import TorchFunctionMode

Draw = Callable[[Generator], Tensor]
FILLS = ("exponential_", "normal_", "uniform_")
"""Methods that fill a tensor with random numbers, whatever it held."""
READS = {"__array__", "__bool__", "__float__", "__index__", "__int__", "allclose", "argwhere", "equal", "is_nonzero"}
READS |= {"item", "masked_select", "nonzero", "numpy", "tolist", "unique"}
"""Functions by which Python reads the numbers of a tensor, so that what follows may depend on them."""


class Given(TorchFunctionMode):
    """Within this context calls that would draw from the generator get these numbers, one after the other."""

    def __init__(self, generator: Generator, numbers: Sequence[Tensor]) -> None:
        super().__init__()
        self.generator, self.numbers = generator, iter(numbers)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("generator") is not self.generator:
            return func(*args, **kwargs)
        return next(self.numbers)


class _Recorded(TorchFunctionMode):
    """Keeps how to repeat each call that draws from the generator."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator
        self.draws: list[Draw] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.__name__ in READS:
            raise NotImplementedError(f"a tensor read by {func.__name__}")
        if kwargs.get("generator") is not self.generator:
            return func(*args, **kwargs)
        rest = {name: value for name, value in kwargs.items() if name != "generator"}
        fills = func.__name__ in FILLS
        if any(isinstance(x, Tensor) for x in (*args[fills:], *rest.values())):  # another one in the next call
            raise NotImplementedError(f"random numbers by {func.__name__}")
        if fills:
            shape, dtype, more = args[0].shape, args[0].dtype, args[1:]
            self.draws.append(lambda g: func(torch.empty(shape, dtype=dtype), *more, **rest, generator=g))
        else:
            self.draws.append(lambda g: func(*args, **rest, generator=g))
        return self.draws[-1](self.generator)


def draws_of(function: Callable[[], Any], generator: Generator) -> list[Draw]:
    """How to draw the random numbers of a call, in their order.

    Raises `NotImplementedError` where they cannot be drawn before it, or where Python reads tensors.
    """
    with torch.no_grad(), _Recorded(generator) as recorded:
        function()
    return recorded.draws
