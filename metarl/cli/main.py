"""The frame of every verb and script: its arguments, its exit status, and one sentence for a mistake."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import zip_longest

from envs.errors import EnvironmentFault, InputError
from metarl.backend import distributed
from metarl.backend.errors import NonFiniteError, ParallelError
from metarl.backend.signals import Stopped, raised
from metarl.training import modules
from metarl.training.room import too_large


def run_main(
    main: Callable[[list[str]], int | None], parallel: bool = False, arguments: Sequence[str] | None = None
) -> None:
    """Call `main` with the command line's arguments and exit with its status.

    Args:
        parallel: can processes that torchrun starts do this work together? Otherwise it is refused there.
        arguments: by default those of this process.

    Exit status: 0 when all went well, 2 for bad input, 1 when the work could not be finished, 128 + N after signal N
    (130 after Ctrl-C).
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    threading.excepthook = _thread_error
    try:
        with raised(), distributed.session() if parallel else nullcontext():
            if not parallel and distributed.launched() > 1:
                if os.environ["RANK"] == "0":
                    _fail("Only metarl train works in several processes; start this one without torchrun.", 2)
                sys.exit(2)
            import_modules(arguments)
            status = main(arguments) or 0
        sys.exit(status)
    except InputError as error:
        _fail(str(error), 2)
    except (NonFiniteError, ParallelError, EnvironmentFault) as error:
        _fail(str(error), 1)
    except OSError as error:  # a full disk, a folder that cannot be written, an encoder that failed
        where = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or str(error).strip().split("\n")[0].removesuffix(".") or type(error).__name__
        _fail(f"{where}{reason}; what was saved before is kept.", 1)
    except KeyboardInterrupt:
        _fail("Interrupted; what was saved before is kept.", 130)
    except Stopped as stop:
        _fail(f"Stopped by {signal.Signals(stop.number).name}; what was saved before is kept.", 128 + stop.number)
    except Exception as error:
        words = too_large(error)
        if words is None:
            raise
        _fail(f"{words}; what was saved before is kept.", 1)


@contextmanager
def progress_bar(name: str) -> Iterator[Callable[[float], None]]:
    """Shows a bar on a terminal meanwhile; gives a function that takes the fraction that is done."""
    from rich.progress import Progress

    with Progress(transient=True, disable=not sys.stdout.isatty()) as progress:
        bar = progress.add_task(name, total=1.0)
        yield lambda fraction: progress.update(bar, completed=fraction)


def option(arguments: Sequence[str], name: str) -> str | None:
    """The value of `--name value` or `--name=value`, for what must be known before the fields can be parsed.

    As everywhere on the command line, the last one counts, and `_` may stand for `-` in a name.
    """
    value = None
    for argument, following in zip_longest(arguments, arguments[1:]):
        key, equals, rest = argument.partition("=")
        if key.replace("_", "-") == name:
            value = rest if equals else following
    return value


def import_modules(arguments: Sequence[str]) -> None:
    """Import the modules that `--imports` names, also from the current folder."""
    modules.load(option(arguments, "--imports") or "")


def _thread_error(args: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread and raises its `OSError` again where it is called: no traceback here."""
    if not issubclass(args.exc_type, OSError):
        threading.__excepthook__(args)


def _fail(message: str, status: int) -> None:
    if distributed.first_to_tell():
        with suppress(OSError):  # a terminal that is gone
            print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(status)
