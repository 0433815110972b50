"""The GRU over whole trials against that of torch."""

import torch
from torch import nn

from metarl.policies.cells.gru_cpu import GRUSequence, gru_step


def test_states_and_gradients_are_those_of_torch():
    gru = nn.GRU(5, 7, batch_first=True).double()
    x, weight = torch.randn(3, 6, 5, dtype=torch.float64, requires_grad=True), torch.randn(3, 6, 7).double()
    inputs = [x, *gru.parameters()]
    expected, found = gru(x)[0], GRUSequence.apply(*inputs)
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad((states * weight).sum(), inputs) for states in (found, expected))
    torch.testing.assert_close(*gradients)


@torch.no_grad()
def test_a_step_is_one_of_the_sequence():
    gru = nn.GRU(5, 7, batch_first=True)
    x, hidden = torch.randn(3, 6, 5), torch.zeros(3, 7)
    for t in range(6):
        hidden = gru_step(x[:, t], hidden, tuple(gru.parameters()))
    torch.testing.assert_close(hidden, gru(x)[1][0])
