"""Options of every script that do not change what is computed: where, on how many threads, how fast."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from envs.core import Env
from envs.errors import InputError, require
from envs.fields import field_types
from metarl.algorithms.base import Algorithm
from metarl.backend import distributed
from metarl.backend.cores import share_cores
from metarl.backend.cuda_graphs import Graphs
from metarl.evaluation.held_out import HeldOut
from metarl.training.run import Run


@dataclass(frozen=True)
class Session:
    """Choices that do not change what is computed."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes CUDA where there is one."""
    num_threads: int = 0
    """CPU threads for large tensors; 0 takes the cores that other programs leave free at the start, and several
    processes of one run get equal parts of all."""
    engine: str | None = None
    """Physics engine of a locomotion family: mujoco (C, on the CPU), warp (CUDA, and slowly the CPU), or auto."""
    imports: str = ""
    """Python modules to import first, joined by commas, such as one that registers your own environment family."""

    def apply(self, recorded: int | None = None) -> str:
        """Set the number of threads and how memory is kept; returns the device.

        Args:
            recorded: threads that the resumed run started with.

        Raises `InputError` for more threads than a machine can serve, and when there are more processes on this machine
        than CUDA devices that they should use.
        """
        most = max(64, os.cpu_count() or 1)
        require(self.num_threads >= 0, f"num_threads must be at least 0, not {self.num_threads}.")
        require(self.num_threads <= most, f"num_threads must be at most {most}, not {self.num_threads:,}.")
        keep_freed_memory()
        processes, here = distributed.local_world_size(), distributed.local_rank()
        if self.num_threads or processes > 1:
            cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
            torch.set_num_threads(self.num_threads or max(1, cores // processes))
        device = ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device
        if device == "cpu" and processes == 1 and not self.num_threads:
            share_cores(recorded)
        if device == "cpu" or distributed.launched() == 1 or not torch.cuda.is_available():
            return device
        devices = torch.cuda.device_count()
        require(
            processes <= devices,
            f"{processes} processes cannot share {devices} CUDA devices; start one for each, or give --device cpu.",
        )
        torch.cuda.set_device(here)
        return f"cuda:{here}"

    def choose_engine(self, env_config: Any) -> Any:
        """The environment's configuration with this engine. Raises `InputError` when the family has none."""
        if self.engine is None:
            return env_config
        require(
            has_engine(env_config), "Only locomotion families have a physics engine; leave --engine out for this one."
        )
        return dataclasses.replace(env_config, engine=self.engine)

    def open(self, run_dir: Path, options: Mapping[str, Any] | None = None) -> Run:
        """A trained run, to play it here.

        Args:
            options: of the environment, other than those that it was trained with.

        Raises `InputError` when the folder is none or cannot be read, or the options do not fit.
        """
        return Run.open(run_dir, self.apply(), change_env=self.choose_engine, options=options)


@dataclass(frozen=True)
class TrainSession(Session):
    """The same for training. --graphs, --compile and --compile-acting may move results by rounding: a run repeats
    itself to the bit only with the same ones."""

    graphs: bool = False
    """On CUDA: record rollouts and updates as CUDA graphs, and launch each as a whole."""
    compile: bool = False
    """Compile a policy with a memory for its training by torch.compile, which takes minutes at first."""
    compile_acting: bool = False
    """On the CPU: compile the steps by which a policy with a memory acts in training, and the gates of a GRU where it
    learns. It takes 10 to 50 s at first, and later runs find the code in the user's cache folder. Where there is no C++
    compiler, it changes nothing."""
    eval_every: int = 0
    """Meta-iterations between evaluations on held-out tasks during training, which change nothing in it; 0: none."""
    eval_every_tasks: int | None = None
    """Tasks in such an evaluation, by default 10; held out, the same each time, and not those of metarl evaluate."""

    def held_out(self, run: Run) -> HeldOut | None:
        """What --eval-every asks for. Raises `InputError` where it cannot be done."""
        require(self.eval_every >= 0, f"eval_every must be at least 0, not {self.eval_every}.")
        tasks = 10 if self.eval_every_tasks is None else self.eval_every_tasks
        require(1 <= tasks <= 10_000, f"eval_every_tasks must lie in 1 .. 10,000, not {tasks}.")
        if self.eval_every:
            return HeldOut(run, self.eval_every, tasks)
        idle = self.eval_every_tasks is not None
        require(not idle, "--eval-every-tasks needs --eval-every K.")
        return None

    def speed_up(self, algorithm: Algorithm, env: Env) -> None:
        """What --graphs, --compile and --compile-acting ask for. Raises `InputError` where they do not apply."""
        if self.graphs:
            require(
                env.device.type == "cuda", "--graphs records CUDA graphs, and this run is on the CPU; leave it out."
            )
            check_recordable(algorithm, env)
            algorithm.graphs = Graphs(record=True)
        if self.compile:
            if algorithm.network is not None:
                check_compiler(env.device)
            algorithm.compile()
        if self.compile_acting:
            on_cpu = env.device.type == "cpu"
            require(on_cpu, "--compile-acting is for the CPU; on CUDA --graphs serves, so leave it out.")
            require(env.recordable, "--compile-acting is for environments of tensors alone; leave it out.")
            algorithm.compile_acting()


def has_engine(env_config: Any) -> bool:
    """Can the physics engine of the environments of this configuration be chosen?"""
    return "engine" in field_types(env_config)


def check_recordable(algorithm: Algorithm, env: Env) -> None:
    """Raise `InputError` unless the algorithm's rollouts and updates can be recorded."""
    require(algorithm.graphs is not None, f"Updates of {algorithm.name} cannot be captured; leave --graphs out.")
    require(
        env.recordable,
        "The physics of a locomotion family is captured as a CUDA graph already; leave --graphs out.",
    )
    require(distributed.world_size() == 1, "--graphs works in a single process; leave it out, or start one process.")


def check_compiler(device: torch.device) -> None:
    """Raise `InputError` unless torch.compile works here."""
    try:
        torch.compile(torch.sin)(torch.ones(2, device=device))
    except Exception as error:  # of many classes, by device and by what is missing
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"--compile needs a compiler that torch.compile can use, such as g++ on the CPU: {reason}"
        ) from None


def keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks for the next tensor instead of handing them back to the system.

    Page faults on fresh temporary tensors otherwise cost a third of an update (docs/speed.md). Elsewhere than on
    Linux with glibc this does nothing.
    """
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
            mallopt(-3, 2**30)  # M_MMAP_THRESHOLD
            mallopt(-2, 2**27)  # M_TOP_PAD, twice the size of the heaps of other threads, which are else handed back
