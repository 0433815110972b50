"""What the scripts share: session options, and that a user's mistake ends in one sentence and not in a traceback."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from envs.errors import InputError, require
from metarl.train import NonFiniteError

WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}


@dataclass(frozen=True)
class Session:
    """Choices that do not change what is computed."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes CUDA where there is one."""
    num_threads: int = 0
    """CPU threads for large tensors; 0 takes all cores."""
    imports: str = ""
    """Python modules to import first, joined by commas, such as one that registers your own environment family."""

    def apply(self) -> str:
        """Set the number of threads; returns the device."""
        require(self.num_threads >= 0, f"num_threads must be at least 0, not {self.num_threads}.")
        if self.num_threads:
            torch.set_num_threads(self.num_threads)
        return ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device


def option(arguments: Sequence[str], name: str) -> str | None:
    """The value of `--name value` or `--name=value`, for what must be known before the fields can be parsed."""
    for i, argument in enumerate(arguments):
        if argument == name and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith(name + "="):
            return argument.split("=", 1)[1]
    return None


def import_modules(arguments: Sequence[str]) -> None:
    """Import the modules that `--imports` names, also from the current folder."""
    sys.path.insert(0, os.getcwd())
    for name in filter(None, (option(arguments, "--imports") or "").split(",")):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise InputError(f"--imports {name}: there is no module {error.name!r} here or on the path.") from None


def run_main(main: Callable[[list[str]], int | None]) -> None:
    """Call `main` with the command line's arguments and exit with its status.

    Exit status: 0 when all went well, 2 for bad input, 1 when the work could not be finished, 130 after Ctrl-C.
    """
    arguments = sys.argv[1:]
    try:
        import_modules(arguments)
        sys.exit(main(arguments) or 0)
    except InputError as error:
        _fail(str(error), 2)
    except NonFiniteError as error:
        _fail(str(error), 1)
    except OSError as error:
        if error.errno not in WRITE_ERRORS:
            raise
        where = f" {error.filename}" if error.filename else ""
        _fail(f"Cannot write{where}: {error.strerror}; what was saved before is kept.", 1)
    except KeyboardInterrupt:
        _fail("Interrupted; nothing was written.", 130)


def _fail(message: str, status: int) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)
