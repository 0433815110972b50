"""metrics.jsonl: a line for each meta-iteration."""

from __future__ import annotations

import json
import os
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


def read(path: Path) -> dict[int, dict[str, float]]:
    """The first whole line of each iteration; one that a kill cut short is left out."""
    rows: dict[int, dict[str, float]] = {}
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
            rows.setdefault(int(row["iteration"]), row)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return rows


def trim(path: Path, iteration: int) -> list[int]:
    """Keep one line for each iteration up to this one, in order. Returns the iterations that have none."""
    rows, done = read(path), range(1, iteration + 1)
    kept = "".join(json.dumps(rows[k]) + "\n" for k in done if k in rows)
    if path.exists() and kept.encode() != path.read_bytes():
        write_atomically(path, lambda part: part.write_text(kept))
    return [k for k in done if k not in rows]
