"""Cells by name: what turns the steps of a trial into states. Each cell is a class in its own file and a line here."""

from collections.abc import Callable

from metarl.policies.cells.cell import Cell
from metarl.policies.cells.gru import GRU
from metarl.policies.cells.lstm import LSTM
from metarl.policies.cells.s5 import S5
from metarl.policies.cells.transformer import Transformer

CELLS: dict[str, Callable[[int, int, int], Cell]] = {"gru": GRU, "lstm": LSTM, "s5": S5, "transformer": Transformer}

__all__ = ["CELLS", "GRU", "LSTM", "S5", "Cell", "Transformer"]
