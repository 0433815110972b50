"""Pool: the worker processes of a family, and the memory that they share with this one.

Gymnasium's `AsyncVectorEnv` starts a process for each environment and imports the program that started it in each of
them; here a few processes hold many environments each, and import numpy, Gymnasium and what `make` needs.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

from envs.errors import EnvironmentFault, InputError
from envs.workers import worker
from envs.workers.worker import Program, SharedArrays

ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
RAM = Path("/dev/shm")
METHODS = {"program": "make()", "attach": "make()", "begin": "reset()", "step": "step()"}
"""Of an environment, by the request during which it is called."""
PATIENCE = 5.0
"""Seconds in which a worker is to end by itself."""


def usable_cores() -> int:
    """Cores for the workers of this process: an equal part where torchrun started several on this machine."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


@dataclass(frozen=True)
class Worker:
    process: subprocess.Popen
    pipe: Connection


class Pool:
    """Lanes 0 .. L - 1 in `count` processes, each with an equal part of them that follow one another.

    Args:
        name: of the environment, for errors.
        program: what each worker is made from.
        obs, action: shape and dtype of one lane's numbers.
        told: a lane's task in words, for errors.

    Attributes:
        memory: the arrays of the lanes; see `worker.SharedArrays`.
    """

    def __init__(
        self, name: str, program: Program, count: int, obs: tuple, action: tuple, told: Callable[[int], str]
    ) -> None:
        self.name, self.count, self.obs, self.action, self.told = name, count, obs, action, told
        self.content = pickled(program)
        self.scores = len(program.scores)
        self.workers: list[Worker] = []
        self.memory: Any = None
        self.capacity = self.lanes = 0
        self._finalizer = weakref.finalize(self, _end, self.workers)

    def begin(self, lanes: int, rows: np.ndarray, tasks: Sequence[Any]) -> None:
        """Start an episode in each lane that `memory.starting` marks; lane i has task `tasks[rows[i]]`.

        Raises:
            EnvironmentFault: when an environment raises or returns what it must not, or a worker dies.
        """
        edges = [lanes * w // self.count for w in range(self.count + 1)]
        shares = [(edges[w], edges[w + 1]) for w in range(self.count)]
        self.lanes = lanes
        self._ask([("begin", a, b, rows[a:b].tolist(), tasks) for a, b in shares])

    def step(self) -> None:
        """Take `memory.action` in every lane. Raises `EnvironmentFault`."""
        self._ask([("step",)] * self.count)

    def reserve(self, lanes: int) -> None:
        """Make room for so many lanes, and start the workers where they do not run. Raises `InputError`."""
        try:
            if not self.workers:
                self._start()
            if lanes > self.capacity:
                with tempfile.NamedTemporaryFile(dir=RAM if RAM.is_dir() else None, prefix="lanes-") as file:
                    layout = (lanes, self.count, self.obs, self.action, self.scores)
                    self.memory = SharedArrays(file, *layout)
                    self._ask([("attach", file.name, *layout)] * self.count)
                self.capacity = lanes
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        path = [entry or os.getcwd() for entry in sys.path]
        for _ in range(self.count):
            here, there = Pipe()
            with there:
                command = [sys.executable, "-P", str(worker.__file__), str(there.fileno())]
                process = subprocess.Popen(
                    command,
                    pass_fds=[there.fileno()],
                    env={**os.environ, **ONE_THREAD},
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is for the parent, which ends the workers
                )
            self.workers.append(Worker(process, here))
        try:
            self._ask([("program", path, number, self.content) for number in range(self.count)])
        except EnvironmentFault as error:
            raise InputError(f"A worker process cannot load make or apply: {error}") from None

    def _ask(self, requests: Sequence[tuple]) -> None:
        """Send each worker its request and wait for all. On an error, and when interrupted, all workers end."""
        faults = []
        try:
            for own, request in zip(self.workers, requests, strict=True):
                try:
                    own.pipe.send_bytes(pickle.dumps(request))  # as `send` does, which takes longer
                except OSError:  # it died; said below
                    continue
            for number, own in enumerate(self.workers):
                try:
                    reply = own.pipe.recv()
                except (EOFError, OSError):
                    reply = (self._at(number), f"{METHODS[requests[number][0]]} {self._death(own)}")
                if reply is not None:
                    faults.append(reply)
        except BaseException:
            self.close()
            raise
        if faults:
            lane, what = faults[0]
            told = f", on the task {self.told(lane)}" if lane is not None else ""
            self.close()
            raise EnvironmentFault(f"{self.name}.{what}{told}.")

    def _at(self, number: int) -> int | None:
        return int(self.memory.at[number]) if self.lanes else None

    def _death(self, own: Worker) -> str:
        with suppress(subprocess.TimeoutExpired):
            own.process.wait(PATIENCE)
        own.process.kill()
        code = own.process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return f"ended its worker process ({how})"

    def close(self) -> None:
        """End the workers. The next `reserve` starts new ones."""
        _end(self.workers)
        self.capacity = self.lanes = 0


def pickled(program: Program) -> bytes:
    """A program for another process. Raises `InputError`.

    What the module of `make`, `apply` or a score defines goes by value where it can: to import that module there would
    import this package and torch, too.
    """
    functions = [f for f in (program.make, program.apply, *program.scores.values()) if f is not None]
    own = {sys.modules[name] for name in map(_module, functions) if name in sys.modules}
    own = {module for module in own if module.__name__ not in cloudpickle.list_registry_pickle_by_value()}
    content = tuple(vars(program).values())
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        with suppress(Exception):
            return cloudpickle.dumps(content)
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)
    try:
        return cloudpickle.dumps(content)
    except Exception as error:
        raise InputError(
            f"make, apply, scores and the tasks go to worker processes, and cannot be pickled: {worker.said(error)}; "
            "create what they need inside of make."
        ) from None


def _module(function: Any) -> str:
    return getattr(function, "__module__", None) or type(function).__module__


def _end(workers: list[Worker]) -> None:
    for own in workers:
        own.pipe.close()  # at which it ends
    for own in workers:
        try:
            own.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            own.process.kill()
            own.process.wait()
    workers.clear()
