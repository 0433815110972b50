"""The LSTM of torch, which forgets little at first."""

import torch

from metarl.policies.cells import LSTM


@torch.no_grad()
def test_it_is_that_of_torch_with_open_forget_gates():
    cell, x = LSTM(8, 5), torch.randn(3, 5, 8)
    state, memory = cell.step(x[:, 0], cell.start(3))
    _, (hidden, inner) = cell(x[:, :1])
    torch.testing.assert_close(state, hidden[0])
    torch.testing.assert_close(memory.cell, inner[0])
    idle = cell.step(torch.zeros(3, 8), memory)[1].cell / memory.cell
    assert idle.median() > 0.4  # sigmoid(1) = 0.73, without what the state adds
