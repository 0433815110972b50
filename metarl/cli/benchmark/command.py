"""Measure speed: environment steps a second, seconds per meta-iteration split in two, peak memory.

`metarl benchmark [NAMES ...] [--output FILE.json]`, or `metarl benchmark --against jax`. Each case runs in a process of
its own. `of FLOP/s` and `of bytes/s` are shares of what this machine does at best, measured at the start: of matrix
products, and of what all operations read and write, as if no result stayed in a cache. So the second can pass 1; where
both are small, calls and uncounted arithmetic cost more.
"""

from __future__ import annotations

import difflib
import multiprocessing
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import envs
from envs.errors import InputError, require
from metarl.backend.files import write_json
from metarl.cli.benchmark.against import check_peer, compare
from metarl.cli.benchmark.cases import CASES, COMPILED, RECORDED, TABLE, case
from metarl.cli.benchmark.limits import Work, limits
from metarl.cli.benchmark.measures import peak_memory_mb
from metarl.cli.main import import_modules
from metarl.cli.session import TrainSession
from metarl.figures.terminal import show
from metarl.training.presets import preset_names

T = TypeVar("T")

COLUMNS = {
    "sample s": ("sampling_seconds", 3),
    "optim. s": ("optimization_seconds", 3),
    "total s": ("total_seconds", 3),
    "steps/s": ("env_steps_per_second", 0),
    "sampled/s": ("sampling_steps_per_second", 0),
    "trained/s": ("training_steps_per_second", 0),
    "of C loop": ("share_of_plain_c", 2),
    "of FLOP/s": ("share_of_flops", 2),
    "of bytes/s": ("share_of_bytes", 2),
    "bytes/lane": ("bytes_per_lane", 0),
    "torch s": ("import_torch_seconds", 2),
    "envs s": ("import_envs_seconds", 2),
    "start s": ("start_seconds", 2),
    "worker MB": ("worker_memory_mb", 0),
    "peak MB": ("peak_memory_mb", 0),
    "threads": ("threads", 0),
}


@dataclass(frozen=True)
class Arguments:
    """Measure speed: environment steps a second, seconds per meta-iteration split in two, peak memory."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Cases to run, or presets of metarl train; none means all cases."""
    repeats: int = 7
    """Timed repetitions, after two that are not counted; medians are reported."""
    neighbours: int = 0
    """Busy processes to run beside the cases, and to end with them."""
    against: Literal["jax"] | None = None
    """jax: instead of cases, RL² and MetaNet on bandits beside an RL² in JAX, which must be installed, in turns."""
    output: Path | None = None
    """A JSON file for the figures."""
    session: TrainSession = field(default_factory=TrainSession)


def run_case(name: str, session: TrainSession, repeats: int) -> dict[str, Any]:
    """The figures of one case, with the peak memory of this process."""
    import_modules([f"--imports={session.imports}"])  # in a fresh process nobody has
    row, device = case(name), session.apply()
    figures = row.measure(session, repeats, **row.options)
    figures.setdefault("threads", torch.get_num_threads())
    figures.setdefault("peak_memory_mb", peak_memory_mb())
    if device == "cuda":
        figures["peak_device_memory_mb"] = torch.cuda.max_memory_allocated() / 1e6
    return {"name": name, **figures}


def check_case(name: str, session: TrainSession) -> None:
    """Raise `InputError` for a name that is none, or options that mean nothing there."""
    known = (*CASES, *preset_names())
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise InputError(f"There is no benchmark {name!r}.{hint} metarl benchmark --help lists them.")
    options = (
        ("--graphs", session.graphs, RECORDED),
        ("--compile", session.compile, COMPILED),
        ("--compile-acting", session.compile_acting, COMPILED),
    )
    for option, asked, serves in options:
        useful = not asked or case(name).measure in serves
        require(useful, f"The case {name} has no use for {option}; leave one of them out.")


def machine_limits(session: TrainSession) -> Work:
    return limits(session.apply())


def in_fresh_process(function: Callable[..., T], *arguments: Any) -> T:
    """`function(*arguments)`, with threads, memory and libraries as a new interpreter has them."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


@contextmanager
def busy_processes(count: int) -> Iterator[list[subprocess.Popen]]:
    """Within this context as many processes keep a core busy each. They end with this one, even if it is killed."""
    code = f"import os\nwhile os.getppid() == {os.getpid()}:\n    sum(range(10**6))"
    busy: list[subprocess.Popen] = []
    try:
        busy.extend(subprocess.Popen([sys.executable, "-c", code]) for _ in range(count))
        yield busy
    finally:
        for process in busy:
            process.kill()
        for process in busy:
            process.wait()


def measured(name: str, args: Arguments, most: Work) -> dict[str, Any]:
    """The figures of a case, as shares of what the machine does at most, too."""
    with busy_processes(args.neighbours):
        figures = in_fresh_process(run_case, name, args.session, args.repeats)
    for key, limit in vars(most).items():
        if f"work_{key}" in figures:
            figures[f"share_of_{key}"] = figures[f"work_{key}"] / figures["work_seconds"] / limit
    return figures


def table(title: str, results: list[dict[str, Any]]) -> Table:
    """A row for each case, with the columns that any of them has."""
    shown = {column: key for column, key in COLUMNS.items() if any(key[0] in r for r in results)}
    out = Table(title=title)
    for column in ("case", *shown):
        out.add_column(column, justify="left" if column == "case" else "right", no_wrap=True)
    for r in results:
        out.add_row(escape(r["name"]), *(f"{r[key]:,.{digits}f}" if key in r else "" for key, digits in shown.values()))
    return out


def chosen(args: Arguments) -> tuple[str, ...]:
    """The cases to run."""
    return () if args.against else args.names or tuple(CASES)


def check(args: Arguments) -> None:
    """Raise `InputError` for options that cannot be served, before anything is measured."""
    for name in chosen(args):
        check_case(name, args.session)
    if args.against:
        require(not args.names, "--against jax takes no cases; leave them out.")
        check_peer()
    require(args.repeats >= 1, f"repeats must be at least 1, not {args.repeats}.")
    most = 8 * (os.cpu_count() or 1)
    fits = 0 <= args.neighbours <= most
    require(fits, f"neighbours must be from 0 to {most} on this machine, not {args.neighbours}.")
    cuda = envs.check_device(args.session.apply()).type == "cuda"
    require(cuda or not args.session.graphs, "--graphs records CUDA graphs; leave it out on the CPU.")


def main(arguments: list[str]) -> None:
    cases = "\n".join(f"  {row.name}: {row.what}" for row in TABLE)
    about = f"{__doc__}\nCases, and presets of metarl train serve, too:\n{cases}"
    flat = (tyro.conf.OmitArgPrefixes,)
    args = tyro.cli(Arguments, prog="metarl benchmark", description=about, args=arguments, config=flat)
    check(args)
    device, most = args.session.apply(), in_fresh_process(machine_limits, args.session)
    results: list[dict[str, Any]] = []
    refused = None
    if args.against:
        with busy_processes(args.neighbours):
            results = compare(args.session, args.repeats)
    for name in chosen(args):
        Console(stderr=True).print(f"{escape(name)} …", style="dim")
        try:
            results.append(measured(name, args, most))
        except InputError as error:
            if not results:
                raise
            refused = error  # told after what was measured before it
            break
    if args.output:
        report = {"torch": torch.__version__, "device": device, "neighbours": args.neighbours}
        write_json(args.output, {**report, "limits_per_second": vars(most), "results": results})
    machine = f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {device}"
    beside = f", beside {args.neighbours} busy processes" if args.neighbours else ""
    products, sums = f"{most.flops / 1e9:,.0f} GFLOP/s in a matrix product", f"{most.bytes / 1e9:,.1f} GB/s"
    show(table(f"{machine}{beside}; at most {products} and {sums} in a sum of vectors", results))
    if args.output:
        print(f"Wrote {args.output}")
    if refused is not None:
        raise refused
