"""How every script prints its tables: a column is never cut, however narrow the terminal."""

from __future__ import annotations

import copy
import dataclasses
import os
import sys
from collections.abc import Iterable, Sequence

from rich.box import ROUNDED
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text, TextType

PROSE = 16
"""Columns of the terminal that a column of sentences (overflow="fold") gets at least, where there is room for them."""


def full_width() -> bool:
    """Do tables go to a file or a pipe, where nothing limits their width? A width in COLUMNS counts there, too."""
    return not sys.stdout.isatty() and not os.environ.get("COLUMNS", "").isdigit()


def show(table: Table, most: int | None = None) -> None:
    """Print a table; where it is too wide for the terminal, as several below each other that repeat its first column.

    Columns that `overflow="fold"` may take several lines, and the first one where nothing else helps.

    Args:
        most: width in columns beyond which a terminal is not used.
    """
    console = Console(width=100_000 if full_width() else None, highlight=False)
    width = console.width if most is None or full_width() else min(most, console.width)
    parts = split(table, console, width)
    if len(parts) == 1:
        console.print(parts[0], width=width)
        return
    title, caption = (_heading(text) for text in (table.title, table.caption))
    for part in filter(None, (title, *parts, caption)):
        console.print(part, width=width)


def words(title: str, rows: Iterable[Sequence[str]], *header: str) -> Table:
    """A table of plain text: names, and columns of what is said about each.

    Args:
        title: with markup; everything else is taken as it is.
        header: of the columns; without it there are two.
    """
    first, *others = header or ("", "")
    table = Table(box=ROUNDED, title=title, title_justify="left", show_header=bool(header))
    table.add_column(first, style="cyan")
    for name in others:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def split(table: Table, console: Console, width: int) -> list[Table]:
    """The table, or several that are at most that wide: each with the first column and some of the others."""
    _, right, _, left = Padding.unpack(table.padding)
    border = left + right + 1
    widths = [_width(column, console) for column in table.columns]
    if sum(w + border for w in widths) + 1 <= width:
        return [_part(table, list(enumerate(widths)))]
    room = width - 1 - border  # of the first column and one other
    least = max((_least(c, w) for c, w in zip(table.columns[1:], widths[1:], strict=True)), default=0)
    first = min(widths[0], max(8, room - border - least)) if len(widths) > 1 else min(widths[0], max(8, room))
    beside = max(4, room - border - first)  # what is left for the others
    groups: list[list[tuple[int, int]]] = [[]]
    for k, (column, natural) in enumerate(zip(table.columns, widths, strict=True)):
        if k == 0:
            continue
        own = min(_least(column, natural), beside)
        if groups[-1] and sum(w + border for _, w in groups[-1]) + own > beside:
            groups.append([])
        groups[-1].append((k, own))
    parts = []
    for group in groups:
        spare = beside - sum(w for _, w in group) - border * (len(group) - 1)
        wide = []
        for k, own in group:  # sentences take what the others leave
            more = min(spare, widths[k] - own) if table.columns[k].overflow == "fold" else 0
            spare -= more
            wide.append((k, own + more))
        parts.append(_part(table, [(0, first), *wide]))
    if len(parts) > 1:
        for part in parts:
            part.title = part.caption = None
    return parts


def _heading(text: TextType | None) -> TextType | None:
    return Text.from_markup(text, style="italic") if isinstance(text, str) else text


def _width(column: Column, console: Console) -> int:
    """Of the column's longest line."""
    return max((console.measure(cell).maximum for cell in (column.header, *column.cells)), default=1)


def _least(column: Column, natural: int) -> int:
    return min(natural, PROSE) if column.overflow == "fold" else natural


def _part(table: Table, columns: Sequence[tuple[int, int]]) -> Table:
    """A copy with these columns, each of that width."""
    part = copy.copy(table)
    part.columns = [
        dataclasses.replace(table.columns[k], _index=i, width=w, overflow="fold", no_wrap=False)
        for i, (k, w) in enumerate(columns)
    ]
    return part
