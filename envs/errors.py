"""Errors that a user can act on: one sentence that says what was wrong and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A mistake in what the caller gave. The message is one complete sentence; scripts print it and exit with 2."""


class EnvironmentFault(RuntimeError):
    """An environment that others wrote raised, died or returned what it must not. The message names it and the task."""


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """An `InputError` for a name that does not exist, with the nearest known name and the whole list."""
    options = sorted(known)
    nearest = difflib.get_close_matches(str(name), options, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return InputError(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(options)}.")


def require(condition: bool, message: str) -> None:
    """Raise `InputError(message)` unless `condition` holds."""
    if not condition:
        raise InputError(message)
