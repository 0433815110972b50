"""A GRU (Cho et al. 2014), the cell of RL² as published."""

from __future__ import annotations

from torch import Tensor, nn

from metarl.policies.cells.cell import Cell
from metarl.policies.cells.gru_cpu import GRUSequence, gru_step


class GRU(nn.GRU, Cell):
    """That of torch, with orthogonal weights of the state; on the CPU with its derivative written out."""

    def __init__(self, size: int, num_steps: int, num_layers: int = 1) -> None:
        super().__init__(size, size, batch_first=True)
        nn.init.orthogonal_(self.get_parameter("weight_hh_l0"))

    def start(self, num_lanes: int) -> Tensor:
        return self.get_parameter("weight_hh_l0").new_zeros(num_lanes, self.hidden_size)

    def step(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        hidden = next_state(self, x, memory)
        return hidden, hidden

    def sequence(self, x: Tensor) -> Tensor:
        return states(self, x)


def next_state(gru: nn.GRU, x: Tensor, hidden: Tensor) -> Tensor:
    """The state [B, H] after one step x [B, I]."""
    if x.device.type == "cpu":
        return gru_step(x, hidden, tuple(gru.parameters()))
    return gru(x.unsqueeze(1), hidden.unsqueeze(0))[1].squeeze(0)


def states(gru: nn.GRU, x: Tensor) -> Tensor:
    """After each step of whole trials: x [B, T, I] -> [B, T, H]."""
    return gru(x)[0] if x.device.type != "cpu" else GRUSequence.apply(x, *gru.parameters())
