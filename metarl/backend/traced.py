"""A step of a network as a graph of operations, which runs without Python between them.

With few lanes a step is some hundred operations on small tensors, and calling them from Python takes as long as they
do. A trace is recorded in a tenth of a second and needs no compiler. It does the same operations on the same
parameters, so its numbers are those of the plain step to the last bit.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from envs.structs import tensors_of, with_tensors

_TRACES: WeakKeyDictionary[nn.Module, dict[Hashable, Any]] = WeakKeyDictionary()
Step = Callable[[Any, Any], tuple[Any, Any]]


def traced_step(network: Any) -> Step:
    """`network.step`, from (inputs, memory) to (outputs, memory), traced on the CPU where that serves.

    The memory is None at the start, then what the last call returned. A trace holds for one shape of inputs and memory.
    Where a memory grows from step to step, the plain step is called.
    """
    traces = _TRACES.setdefault(network, {})

    def step(inputs: Any, memory: Any) -> tuple[Any, Any]:
        if isinstance(memory, list):  # the tensors of a memory, as a trace takes and returns them
            function, outputs = trace = memory[0]
            found = _run(function, [*vars(inputs).values(), *memory[1:]])
            return with_tensors(outputs, found), [trace, *found[len(tensors_of(outputs)) :]]
        if memory is None or inputs.obs.device.type != "cpu":
            return network.step(inputs, memory)
        given = tensors_of(memory)
        key = tuple((x.shape, x.dtype) for x in [*vars(inputs).values(), *given])
        if key not in traces:
            outputs, after = network.step(inputs, memory)
            constant = [x.shape for x in tensors_of(after)] == [x.shape for x in given]
            traces[key] = _trace(network, inputs, memory, outputs) if constant else None
            return outputs, after
        if traces[key] is None:
            return network.step(inputs, memory)
        return step(inputs, [traces[key], *given])

    return step


class _Flat(nn.Module):
    """A network's step from tensors to tensors."""

    def __init__(self, network: Any, inputs: Any, memory: Any) -> None:
        super().__init__()
        self.network, self.kind, self.count, self.memory = network, type(inputs), len(vars(inputs)), memory

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        inputs, memory = self.kind(*tensors[: self.count]), with_tensors(self.memory, tensors[self.count :])
        outputs, memory = self.network.step(inputs, memory)
        return (*tensors_of(outputs), *tensors_of(memory))


def _trace(network: Any, inputs: Any, memory: Any, outputs: Any) -> tuple[Any, Any]:
    given = (*vars(inputs).values(), *tensors_of(memory))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # numbers of Python become constants, as they are for these shapes
        return torch.jit.trace(_Flat(network, inputs, memory), given, check_trace=False), outputs


def _run(function: Any, given: list[Tensor]) -> list[Tensor]:
    with torch.jit.optimized_execution(False):  # its passes take longer than a rollout and gain nothing here
        return list(function.forward(*given))  # past the hooks of Module, which counters set
