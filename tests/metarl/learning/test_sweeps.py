"""Sweeps by task, in compiled loops, against all tasks at once; test_linearize.py checks the arithmetic of both."""

from __future__ import annotations

import importlib.util
import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from metarl.backend import products
from metarl.learning import sweeps

SAMPLES = 600


def network(dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
    """Layers, x, slope and x_dot of three tasks, large enough for oneDNN."""
    generator, sizes = torch.Generator().manual_seed(0), (2, 48, 64, 2)
    shapes = [(3, out, inner + 1) for inner, out in itertools.pairwise(sizes)]
    layers = [torch.randn(shape, generator=generator).to(dtype) / 8 for shape in shapes]
    x = [torch.randn(3, size + 1, SAMPLES, generator=generator).to(dtype) for size in sizes[:-1]]
    for each in x:
        each[:, -1] = 1
    slope, x_dot = ([torch.zeros(3, size, SAMPLES, dtype=dtype) for size in sizes[1:-1]] for _ in range(2))
    return layers, x, slope, x_dot


def run(kind: str, dtype: torch.dtype) -> list[Tensor]:
    layers, x, slope, x_dot = network(dtype)
    sweeps.activations(layers, x, slope, kind)
    outputs = sweeps.tangents(layers, x, slope, x_dot)
    above, back = [slope[1], outputs], [layer[..., :-1] for layer in layers[1:]]
    down = [torch.cat([w, w], 1) for w in back]
    grads = sweeps.errors(outputs, down, x, slope, above, x_dot, x_dot)
    return [*x, *slope, *x_dot, outputs, *grads, *sweeps.errors(outputs, back, x, slope)]


@pytest.mark.parametrize("kind", ["tanh", "relu"])
def test_by_task_and_all_tasks_at_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    by_task = run(kind, torch.float32)
    monkeypatch.setattr(sweeps, "FEWEST_SAMPLES", SAMPLES + 1)
    for one, other in zip(by_task, run(kind, torch.float64), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))


def test_tanh() -> None:
    layers, x, slope, _ = network(torch.float64)
    sweeps.activations(layers, x, slope, "tanh")
    expected = (layers[0] @ x[0]).tanh()
    torch.testing.assert_close(x[1][:, :-1], expected)
    torch.testing.assert_close(slope[0], 1 - expected**2)


def test_they_are_compiled_where_the_operator_of_onednn_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sweeps.__spec__ and sweeps.__spec__.loader
    monkeypatch.setattr(products, "AVAILABLE", False)
    monkeypatch.setattr(products, "by_onednn", functional.linear)
    there = importlib.util.module_from_spec(sweeps.__spec__)
    sweeps.__spec__.loader.exec_module(there)
    graphs = [str(function.inlined_graph) for function in there._BY_TASK.values()]
    assert graphs and not any("mkldnn" in graph for graph in graphs)
