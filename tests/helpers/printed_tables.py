"""Tables as they were printed."""

from __future__ import annotations

import re

WIDTHS = ["40", "80", ""]
"""Columns of the terminal; none in a pipe."""


def firsts(text: str) -> str:
    """What stands at the start of the lines, without blanks: the first column, whose cells may be broken."""
    lines = (line.strip(" │") for line in text.splitlines())
    return "".join(re.split(r"\s{2,}|│", line)[0].replace(" ", "") for line in lines)


def check(text: str, width: int, names: list[str], others: list[str]) -> None:
    """Are the names in the first column whole, and are all others there?"""
    found = firsts(text)
    assert [name for name in names if name.replace(" ", "") not in found] == []
    squeezed = re.sub(r"[\s│]", "", text)
    assert [other for other in others if other.replace(" ", "") not in squeezed] == []
    table = [line for line in text.splitlines() if line.startswith((" ", "│", "╭"))]
    assert max(map(len, table)) <= width
