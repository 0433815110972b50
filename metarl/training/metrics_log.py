"""metrics.jsonl: a line for each meta-iteration."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from envs.files import write_atomically


def append(path: Path, metrics: dict[str, float]) -> None:
    """Add a line."""
    with path.open("a") as file:
        file.write(json.dumps(metrics) + "\n")


def flush(path: Path) -> None:
    """Return when all lines are on the disk."""
    if path.exists():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def read(path: Path) -> dict[int, bytes]:
    """The first whole line of each iteration, with its end; what a kill cut short is left out."""
    lines: dict[int, bytes] = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            iteration = json.loads(line)["iteration"]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if type(iteration) is int:
            lines.setdefault(iteration, line + b"\n")
    return lines


def trim(path: Path, iteration: int) -> list[int]:
    """Keep a line for each of the iterations up to this one, in their order. Returns those that have none."""
    lines = read(path)
    done = range(1, iteration + 1)
    kept = b"".join(lines[k] for k in done if k in lines)
    if path.exists() and kept != path.read_bytes():
        write_atomically(path, lambda part: part.write_bytes(kept))
    return [k for k in done if k not in lines]


def in_words(iterations: Iterable[int]) -> str:
    """Numbers in ascending order as `3, 7 to 9 and 12`."""
    spans: list[list[int]] = []
    for k in iterations:
        if spans and k == spans[-1][-1] + 1:
            spans[-1][1:] = [k]
        else:
            spans.append([k])
    words = [" to ".join(map(str, span)) for span in spans]
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
