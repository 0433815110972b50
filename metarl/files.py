"""Files that are whole or absent."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from envs.errors import require
from envs.files import write_atomically as write_atomically


def check_output(path: Path, fields: Iterable[str]) -> None:
    """Look before the work whether a JSON file can be written afterwards.

    Args:
        fields: JSON of this kind holds one of them; a file of another kind, such as a run's config.json, is kept.

    Raises:
        InputError: when the file cannot be written, or is there and is of another kind.
    """
    require(path.suffix == ".json", f"The output's name must end in .json, and {str(path)!r} does not.")
    require(not path.is_dir(), f"The output cannot be written to {str(path)!r}, which is a folder.")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    writable = folder.is_dir() and os.access(folder, os.W_OK)
    require(writable, f"The output cannot be written to {str(path)!r}: {folder} is no folder that takes files.")
    if path.exists():
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            there = None
        alike = isinstance(there, dict) and not there.keys().isdisjoint(fields)
        require(
            alike, f"{str(path)!r} is there and holds something else, which would be lost; choose another --output."
        )
