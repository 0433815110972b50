"""The GRU over whole trials against that of torch."""

import torch
from torch import nn

from metarl.backend import compiled
from metarl.policies.cells.gru_cpu import GRUSequence, gru_step


def check(sequence):
    """Are the states that it gives and their gradients those of torch?"""
    gru = nn.GRU(5, 7, batch_first=True).double()
    x, weight = torch.randn(3, 6, 5, dtype=torch.float64, requires_grad=True), torch.randn(3, 6, 7).double()
    inputs = [x, *gru.parameters()]
    expected, found = gru(x)[0], sequence(*inputs)
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad((states * weight).sum(), inputs) for states in (found, expected))
    torch.testing.assert_close(*gradients)


def test_states_and_gradients_are_those_of_torch():
    check(GRUSequence.apply)


def test_they_are_with_exported_gates(monkeypatch):
    monkeypatch.setattr(compiled, "_package", lambda program, module: lambda tensors: program.module()(*tensors))
    kernels = {}
    with compiled.fusing(kernels):
        check(GRUSequence.apply)
    assert len(kernels) == 2 and not any(run is function for (function, *_), run in kernels.items())


def test_they_are_within_torch_compile():
    check(torch.compile(lambda *inputs: GRUSequence.apply(*inputs), backend="eager"))


@torch.no_grad()
def test_a_step_is_one_of_the_sequence():
    gru = nn.GRU(5, 7, batch_first=True)
    x, hidden = torch.randn(3, 6, 5), torch.zeros(3, 7)
    for t in range(6):
        hidden = gru_step(x[:, t], hidden, tuple(gru.parameters()))
    torch.testing.assert_close(hidden, gru(x)[1][0])
