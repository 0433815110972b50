"""An LSTM (Hochreiter & Schmidhuber 1997), as in Wang et al. 2016."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from envs.structs import Struct
from metarl.policies.cells.cell import Cell


@dataclass(frozen=True, eq=False)
class LSTMState(Struct):
    hidden: Tensor  # [B, D]
    cell: Tensor  # [B, D]


class LSTM(nn.LSTM, Cell):
    """That of torch, with orthogonal weights of the state, and forget gates that are open at first."""

    def __init__(self, size: int, num_steps: int, num_layers: int = 1) -> None:
        super().__init__(size, size, batch_first=True)
        nn.init.orthogonal_(self.get_parameter("weight_hh_l0"))
        nn.init.ones_(self.get_parameter("bias_ih_l0").data[size : 2 * size])

    def start(self, num_lanes: int) -> LSTMState:
        blank = self.get_parameter("weight_hh_l0").new_zeros(num_lanes, self.hidden_size)
        return LSTMState(blank, blank)

    def step(self, x: Tensor, memory: LSTMState) -> tuple[Tensor, LSTMState]:
        w_ih, w_hh, b_ih, b_hh = self.parameters()
        gates = functional.linear(x, w_ih, b_ih) + functional.linear(memory.hidden, w_hh, b_hh)
        write, keep, new, show = gates.chunk(4, -1)
        cell = keep.sigmoid() * memory.cell + write.sigmoid() * torch.tanh(new)
        hidden = show.sigmoid() * torch.tanh(cell)
        return hidden, LSTMState(hidden, cell)

    def sequence(self, x: Tensor) -> Tensor:
        return self(x)[0]
