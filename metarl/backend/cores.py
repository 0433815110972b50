"""How many threads PyTorch uses beside other programs, and a watch for training that they slow down."""

from __future__ import annotations

import functools
import math
import os
import statistics
import sys
import threading
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from envs import threads
from metarl.backend import distributed


def choose(team: int, cores: int, busy: float) -> int:
    """Threads for PyTorch: the default number, `team`, minus the cores that other programs keep busy.

    A team waits after every operation for its last thread. If that one shares its core, one thread fewer is faster.
    """
    return min(team, max(1, cores - math.floor(busy + 0.5)))


@contextmanager
def on_threads(number: int) -> Iterator[None]:
    """Within this context PyTorch computes on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.cache
def measured() -> tuple[int, int, float, int]:
    """`(threads chosen, threads by default, cores that others keep busy, cores)`, once for a process."""
    team, now = torch.get_num_threads(), threads.usage()
    busy, cores = threads.others(threads.STARTED, now), now.cores if now else team
    return choose(team, cores, busy), team, busy, cores


def share_cores(recorded: int | None = None) -> None:
    """Set PyTorch's threads by the load of this machine, with a message on standard error if not all cores are used.

    Args:
        recorded: threads that a run began with. It continues with as many, since sums may round differently.

    `OMP_NUM_THREADS` in the environment takes precedence.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    chosen, team, busy, cores = measured()
    number = chosen if recorded is None else min(recorded, team)
    if number == torch.get_num_threads() and number == chosen:
        return
    torch.set_num_threads(number)
    if chosen < team:
        threads.for_physics = 2 * team  # more to choose from when one waits for its core; the results are the same
    if number == chosen:
        note = f"other programs keep {busy:.1f} of {cores} cores busy, so PyTorch computes on {_count(number)}; "
        note += f"--num-threads {team} overrules that."
    else:
        note = f"this run began on {_count(number)} and goes on so; --num-threads {chosen} would be faster now, and "
        note += "may change results by rounding."
    _say_once(f"note: {note}")


@functools.cache
def _say_once(text: str) -> None:
    if distributed.is_main():
        print(text, file=sys.stderr, flush=True)


def _count(number: int) -> str:
    return "1 thread" if number == 1 else f"{number} threads"


def warn_too_late() -> None:
    """Warn if torch was loaded before these packages, and so did not read their bound on spinning."""
    if threads.TOO_LATE and torch.get_num_threads() > 1:
        warnings.warn(
            "torch was imported before envs and metarl, so its threads wait for each other without bound, and other "
            "programs can slow training down many times; import envs first, or set GOMP_SPINCOUNT="
            f"{threads.WAITING['GOMP_SPINCOUNT']} in the environment.",
            stacklevel=3,
        )


class ShortWaits:
    """While on, the threads of GNU's OpenMP hardly wait for each other before they sleep; results stay the same.

    Its manual (GOMP_SPINCOUNT): 100 turns where it has more threads than there are cores. So a second team is kept,
    asleep. That suits a busy machine; on a quiet one, waking threads costs more than spinning.
    """

    ON, OFF = 0.5, 0.25
    """Cores that others keep busy."""

    def __init__(self) -> None:
        self.end: threading.Event | None = None

    def set(self, busy: float) -> None:
        """Switch by the number of cores that others keep busy."""
        if self.end is None and busy >= self.ON and torch.get_num_threads() > 1:
            self.end, started = threading.Event(), threading.Event()
            threading.Thread(target=_hold_team, args=(started, self.end), daemon=True).start()
            started.wait()
        elif self.end is not None and busy < self.OFF:
            self.close()

    def close(self) -> None:
        if self.end is not None:
            self.end.set()
            self.end = None


def _hold_team(started: threading.Event, end: threading.Event) -> None:
    torch.ones(2**20).add_(1)  # large enough for all threads
    started.set()
    end.wait()


class Watch:
    """Looks after a training beside other programs: shortens waits, and says once when iterations become slow."""

    WINDOW, BEFORE, TIMES = 3, 5, 2.0
    """Three iterations that take more than twice their usual time together, after five others of their kind."""
    LOST = 1.0
    """Seconds that they must lose; less may be chance."""

    def __init__(self) -> None:
        self.seconds: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
        self.told = False
        self.marks = [threads.usage()] * 2
        self.waits = ShortWaits()

    def note(self, iteration: int, metrics: dict[str, float], resume: str) -> str | None:
        """One sentence after the first iterations that are slow, else None.

        Args:
            metrics: of this iteration. Those with the same names did the same work: pretraining is another kind.
            resume: the command line's words that go on with this run.
        """
        now = threads.usage()
        if now and self.marks[1] and now.time - self.marks[1].time > 1:
            self.marks = [self.marks[1], now]
            self.waits.set(threads.others(*self.marks))
        seen = self.seconds[tuple(metrics)]
        seen.append(metrics["sampling_seconds"] + metrics["optimization_seconds"])
        if self.told or len(seen) < self.WINDOW + self.BEFORE:
            return None
        usual, last = statistics.median(seen[: -self.WINDOW]), sum(seen[-self.WINDOW :])
        if last <= self.TIMES * self.WINDOW * usual or last - self.WINDOW * usual < self.LOST:
            return None
        self.told = True
        return slow_sentence(iteration, last / self.WINDOW / usual, threads.others(self.marks[0], now), resume)


def slow_sentence(iteration: int, times: float, busy: float, resume: str) -> str:
    what = f"The meta-iterations up to {iteration} took {times:.1f} times as long as usual"
    if busy < 0.5:
        return f"{what}; look whether this machine swaps memory, or runs hot or low on power."
    what += f" while other programs kept {busy:.1f} cores busy"
    if torch.get_num_threads() == 1:
        return f"{what}; fewer programs beside it would help."
    return f"{what}; if they go on, stop this run by Ctrl-C, and go on by {resume} --num-threads 1."
