"""What Ctrl-C, SIGTERM and SIGHUP (a closed terminal) do to a script, from its first line to its last.

A signal that the process inherited as ignored, as `nohup` does with SIGHUP, stays ignored.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(BaseException):
    """A signal ended the work. `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def ignored(number: int) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN


def leave_at_once() -> None:
    """From now on a signal ends the process with one message. For imports, where an exception cannot do that."""
    for number in STOPPING:
        if not ignored(number):
            signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    try:
        if os.environ.get("RANK", "0") == "0":  # one of the processes that torchrun starts
            os.write(2, b"error: Stopped while loading; nothing was begun.\n")
    finally:
        os._exit(128 + number)


@contextmanager
def raised() -> Iterator[None]:
    """Within this context a signal raises: SIGINT `KeyboardInterrupt`, the others `Stopped`."""
    before = {number: signal.getsignal(number) for number in STOPPING if not ignored(number)}
    for number in before:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            own = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, own if handler is _leave else handler)  # loading is over


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise Stopped(number)
