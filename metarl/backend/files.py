"""Files that are whole or absent, and a lock on a folder."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from envs.errors import InputError, require
from envs.files import write_atomically as write_atomically

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def locked(folder: Path, taken: str) -> Iterator[None]:
    """Within this context no other process gets the lock of a folder. It is reentrant.

    The system releases the lock with the process, also after a kill; a remaining file `.lock` does no harm.

    Args:
        taken: the message if another process holds it.

    Raises:
        InputError: `taken`.
        OSError: when the folder cannot be written.
    """
    path = folder / ".lock"
    lock = FileLock(path, timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(taken) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        print(f"note: {folder} cannot be locked ({error.strerror}); train it in one process alone.", file=sys.stderr)
        yield
        return
    try:
        yield
    finally:
        if lock.lock_counter == 1:  # the file goes while it is locked: who opened it before sees that it is gone
            path.unlink(missing_ok=True)
        lock.release()


def check_output(path: Path, fields: Iterable[str]) -> None:
    """Check before the work that a JSON file can be written afterwards.

    Args:
        fields: JSON of this kind holds one of them; a file of another kind, such as a run's config.json, is kept.

    Raises:
        InputError: when the file cannot be written, or exists and is of another kind.
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


def write_json(path: Path, content: Any, **options: Any) -> Path:
    """Write a JSON file, whole or not at all, and make its folder; `options` are those of `json.dumps`."""
    text = json.dumps(content, **options) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda part: part.write_text(text))
    return path
