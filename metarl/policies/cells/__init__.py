"""Cells by name: what turns the steps of a trial into states. Each cell is a class in its own file and a line here."""

from metarl.policies.cells.cell import Cell
from metarl.policies.cells.transformer import Transformer

CELLS: dict[str, type[Cell]] = {"transformer": Transformer}

__all__ = ["CELLS", "Cell", "Transformer"]
