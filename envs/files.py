"""Atomic writes: a file is complete or absent."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

STALE = 3600.0
"""Seconds after which a partial file is taken for one that a kill left behind."""


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside `path`, flush it to disk and rename it, so that a kill at any moment leaves a complete file.

    Args:
        write: fills the path that it is given, an empty file. Its name cannot be guessed, and it is created with
            `O_EXCL`, so nobody can have put a link there.

    Raises:
        OSError: when it cannot be written. What was at `path` is kept.
    """
    remove_partials(path, STALE)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        temporary.touch(exist_ok=False)
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_partials(path: Path, age: float = 0.0) -> None:
    """Remove what a killed `write_atomically` left beside `path`, where it was last written `age` s ago or earlier."""
    with suppress(OSError):
        for file in list(os.scandir(path.parent)):
            if file.name.startswith(f".{path.name}.") and file.name.endswith(".partial"):
                with suppress(OSError):  # its writer may be at work and rename it
                    if file.stat(follow_symlinks=False).st_mtime <= time.time() - age:
                        os.unlink(file)
