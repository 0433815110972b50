"""Threads beside other programs: how long they wait for each other, and how many cores are free. Imports no torch.

PyTorch's threads meet after every operation, and OpenMP lets the first to arrive spin for some milliseconds. Where
another program holds the core of the last one, that time is lost again and again: training became 3 to 100 times slower
(docs/speed.md). A thread that sleeps early gets a core as soon as it is woken.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

WAITING = {"GOMP_SPINCOUNT": "30000", "KMP_BLOCKTIME": "1"}
"""Turns of GNU's OpenMP, some tenths of a millisecond, and milliseconds of LLVM's and Intel's, until a thread sleeps.

Fewer turns are better beside others and worse alone, where a thread that sleeps must be woken (docs/speed.md).
"""
OWN_CHOICE = {*WAITING, "OMP_WAIT_POLICY"}


def bound_waiting(environ: MutableMapping[str, str], loaded: bool) -> bool:
    """Bound how long OpenMP's threads spin, in this process and those it starts, unless the user has set it.

    OpenMP reads this once, when torch is loaded. Returns whether it comes too late in this process.
    """
    if OWN_CHOICE & environ.keys():
        return False
    environ.update(WAITING)
    return loaded


TOO_LATE = bound_waiting(os.environ, "torch" in sys.modules)
"""Was torch loaded before this package, so that its threads spin for long?"""

for_physics: int | None = None
"""Threads of MuJoCo's engine where they are not as many as PyTorch's: they sleep while they wait."""


@dataclass(frozen=True)
class Usage:
    """Of the cores that this process may use, at one moment."""

    time: float  # s, of time.perf_counter
    busy: float  # core-seconds that all programs together have used
    own: float  # core-seconds that this process has used
    cores: int


def usage(stat: Path = Path("/proc/stat")) -> Usage | None:
    """Current usage; None on systems that do not report it. Background programs (nice) count only for one of them."""
    if sys.platform != "linux":
        return None
    cores, columns = os.sched_getaffinity(0), [0, 2, 5, 6, 7]  # user, system, interrupts of both kinds, stolen
    if os.getpriority(os.PRIO_PROCESS, 0) > 0:
        columns.append(1)
    try:
        rows = [line.split() for line in stat.read_text().splitlines() if line.startswith("cpu")]
        ticks = sum(int(times[i]) for name, *times in rows if name[3:] and int(name[3:]) in cores for i in columns)
    except (OSError, ValueError, IndexError):  # a container may hide it
        return None
    return Usage(time.perf_counter(), ticks / os.sysconf("SC_CLK_TCK"), time.process_time(), len(cores))


def others(since: Usage | None, now: Usage | None) -> float:
    """How many cores other programs kept busy between two moments; 0 where that is unknown or the time too short."""
    if since is None or now is None or now.time - since.time < 0.1:
        return 0.0
    share = (now.busy - since.busy - (now.own - since.own)) / (now.time - since.time)
    return min(max(share, 0.0), float(now.cores))


STARTED = usage()
"""What was used when this package was imported: loading torch takes long enough to see what else runs."""
