"""Functions of tensors as CUDA graphs: captured once for each shape of their inputs, then launched as a whole.

A rollout is thousands of small operations. On a GPU, launching them from Python takes longer than the work, and a
captured graph replays them all in one launch. Elsewhere, and by default, functions are simply called.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor

from envs.errors import InputError
from envs.structs import map_tensors

T = TypeVar("T")

WARM_UP_CALLS = 2
"""Calls before a capture, in which libraries allocate what they keep."""


class Graphs:
    """Calls functions of tensors, as captured graphs if `record` is set.

    A captured function may read its inputs, tensors that change only in place (such as the parameters of a module), and
    generators that it is called with. No result may depend on anything else that changes, since a graph repeats the
    operations of the first call. It must not read numbers back from the device.

    This holds for the steps of your own families, too. On the CPU, a capture calls the captured function on copies of
    the inputs at fixed addresses, so that tests can check these conditions.
    """

    def __init__(self, record: bool = False) -> None:
        self.record = record
        self._captures: dict[Hashable, Capture] = {}
        self._subjects: dict[Hashable, SimpleNamespace] = {}

    def __call__(
        self, name: Hashable, function: Callable[..., T], *inputs: Any, generators: Sequence[Generator] = ()
    ) -> T:
        """`function(*inputs)`, whose tensors are the caller's own.

        Args:
            name: of the function, with everything but the inputs' shapes that decides which operations it does.
            inputs: tensors, Structs, or lists and tuples of them.
            generators: those from which the function draws.

        Raises:
            InputError: when CUDA cannot record the function.
        """
        if not self.record:
            return function(*inputs)
        key = (name, tuple((x.shape, x.dtype) for x in _flat(inputs)), tuple(map(id, generators)))
        if key not in self._captures:
            self._captures[key] = Capture(function, inputs, generators)
        return self._captures[key].replay(inputs)

    def capture(self, name: Hashable, make: Callable[..., T], *inputs: Any) -> T:
        """`make(*inputs)`, an object on whose tensors `capturable` functions work; where it records, a stand-in.

        The first of these functions makes the object, so that its recording holds both; the later ones read what the
        first one left on the device. `name` stands for all but the inputs' shapes that decides which operations follow.
        """
        if not self.record:
            return make(*inputs)
        key = (name, tuple(x.shape for x in _flat(inputs)))
        # one place for all steps: a recording goes on to read what was there when it was made
        place = self._subjects.setdefault(key, SimpleNamespace(made=None))
        return Captured(self, key, place, make, inputs)  # type: ignore[return-value]


class Captured:
    """Stands for the object that `make(*inputs)` makes, in calls of `capturable` functions."""

    def __init__(
        self, graphs: Graphs, key: Hashable, place: SimpleNamespace, make: Callable, inputs: tuple[Any, ...]
    ) -> None:
        self.graphs, self.key, self.place, self.make, self.inputs = graphs, key, place, make, inputs

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """`function(made, *args)`, recorded."""
        place, make, given = self.place, self.make, self.inputs

        def first(*inputs: Any) -> Any:
            place.made = make(*inputs[: len(given)])
            return function(place.made, *inputs[len(given) :])

        def later(*args: Any) -> Any:
            return function(place.made, *args)

        self.inputs = ()
        name = (function.__name__, self.key)
        return self.graphs(name, first if given else later, *given, *args)


def capturable(function: Callable[..., T]) -> Callable[..., T]:
    """Marks a function of an object and tensors that `Graphs.capture` may capture: no decision is made on the host."""

    @functools.wraps(function)
    def call(subject: Any, *args: Any) -> T:
        return subject.call(function, *args) if isinstance(subject, Captured) else function(subject, *args)

    return call


class Capture:
    """One function at fixed shapes. Holds its inputs, its outputs, and the generators it draws from."""

    def __init__(self, function: Callable[..., Any], inputs: tuple[Any, ...], generators: Sequence[Generator]) -> None:
        self.function, self.inputs, self.generators = function, map_tensors(torch.clone, inputs), generators
        self.places = _flat(self.inputs)
        self.graph: torch.cuda.CUDAGraph | None = None
        if self.places[0].is_cuda:
            try:
                self._record()
            except RuntimeError as error:
                reason = str(error).strip().split("\n")[0]
                raise InputError(f"This run cannot be recorded as CUDA graphs; leave --graphs out: {reason}") from error

    def _record(self) -> None:
        self._warm_up()
        self.graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            self.graph.register_generator_state(generator)
        with torch.cuda.graph(self.graph):
            self.outputs = self.function(*self.inputs)

    def _warm_up(self) -> None:
        """Call the function on another stream, as recording demands, and take its random numbers back."""
        states = [generator.get_state() for generator in self.generators]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_CALLS):
                self.function(*self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        for generator, state in zip(self.generators, states, strict=True):
            generator.set_state(state)

    def replay(self, inputs: tuple[Any, ...]) -> Any:
        with torch.no_grad():
            for place, x in zip(self.places, _flat(inputs), strict=True):
                place.copy_(x)
        if self.graph is None:
            self.outputs = self.function(*self.inputs)
        else:
            self.graph.replay()
        return map_tensors(torch.clone, self.outputs)  # the next replay overwrites them


def _flat(x: Any) -> list[Tensor]:
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(note, x)
    return found
