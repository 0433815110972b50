"""Measure speed: environment steps a second, seconds per meta-iteration split in two, peak memory.

`python scripts/benchmark.py [NAMES ...] [--output FILE.json]`. Each case runs in a process of its own.
"""

from __future__ import annotations

import json
import multiprocessing
import platform
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Generator

import envs
import metarl.rollout
from envs.errors import require, unknown
from metarl.cli import Session, run_main
from metarl.linearize import AutogradLinearization, linearize
from metarl.maml import MAML, MAMLConfig
from metarl.policy import MLPConfig, MLPPolicy
from metarl.rollout import collect, reference_rollout
from metarl.run import write_atomically


class PlainPolicy(MLPPolicy):
    """The readable version: every derivative by automatic differentiation."""


linearize.register(PlainPolicy, AutogradLinearization)


def steps(device: str, repeats: int, num_tasks: int, num_envs: int = 1) -> dict[str, Any]:
    """Environment steps a second under random actions."""
    env, generator = envs.make("point", device=device), Generator(device).manual_seed(0)
    task = env.sample_tasks(num_tasks, generator)
    random = env.references()["random"]
    seconds = [
        _timed(device, lambda: reference_rollout(env, random, task, num_envs, generator)) for _ in range(repeats + 1)
    ]
    return {"env_steps_per_second": num_tasks * num_envs * env.horizon / statistics.median(seconds[1:])}


def maml(
    device: str, repeats: int, num_tasks: int = 20, num_envs: int = 20, inner_steps: int = 1, plain: bool = False,
    groups: bool = True, first_order: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Seconds per meta-iteration of MAML-TRPO on 2D navigation: H = 100, 64x64 tanh, 10 CG iterations."""
    if not groups:
        metarl.rollout.CHUNK_STEPS = sys.maxsize
    env, generator = envs.make("point", device=device), Generator(device).manual_seed(0)
    kind = PlainPolicy if plain else MLPPolicy
    policy = kind(env.observation_space, env.action_space, MLPConfig())
    config = MAMLConfig(num_inner_steps=inner_steps, first_order=first_order)
    algorithm = MAML(config, policy, policy.init(generator))
    sampling, optimization = [], []
    for _ in range(repeats + 2):
        task = env.sample_tasks(num_tasks, generator)
        trajectories: list = []
        params = algorithm.params
        sampling.append(_timed(device, lambda t=task, p=params, out=trajectories: out.extend(
            collect(env, policy, p, t, algorithm.adapters(), num_envs, generator))))  # fmt: skip
        optimization.append(_timed(device, lambda out=trajectories: algorithm.update(out)))
    a, b = statistics.median(sampling[2:]), statistics.median(optimization[2:])
    count = num_tasks * num_envs * env.horizon * (inner_steps + 1)
    return {
        "sampling_seconds": a,
        "optimization_seconds": b,
        "total_seconds": a + b,
        "env_steps_per_second": count / (a + b),
        "sampling_steps_per_second": count / a,
    }


def imports(device: str, repeats: int) -> dict[str, Any]:
    """Seconds that a fresh interpreter takes to import torch, and to import envs."""
    seconds: dict[str, list[float]] = {"torch": [], "envs": []}
    for _ in range(repeats):
        for module, times in seconds.items():
            times.append(
                _timed("cpu", lambda m=module: subprocess.run([sys.executable, "-c", f"import {m}"], check=True))
            )
    return {f"import_{module}_seconds": statistics.median(times) for module, times in seconds.items()}


def _timed(device: str, work: Any) -> float:
    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "imports": (imports, {}),
    "steps-1k": (steps, {"num_tasks": 1024}),
    "steps-16k": (steps, {"num_tasks": 16384}),
    "maml": (maml, {}),
    "maml-40-tasks": (maml, {"num_tasks": 40}),
    "maml-200-tasks": (maml, {"num_tasks": 200}),
    "maml-40-episodes": (maml, {"num_envs": 40}),
    "maml-2-inner-steps": (maml, {"inner_steps": 2}),
    "maml-3-inner-steps": (maml, {"inner_steps": 3}),
    "maml-first-order": (maml, {"first_order": True}),
    "maml-no-groups": (maml, {"groups": False}),
    "maml-plain": (maml, {"groups": False, "plain": True}),
}


COLUMNS = {
    "sampling s": ("sampling_seconds", 3),
    "optimization s": ("optimization_seconds", 3),
    "total s": ("total_seconds", 3),
    "env steps/s": ("env_steps_per_second", 0),
    "sampling steps/s": ("sampling_steps_per_second", 0),
    "peak MB": ("peak_memory_mb", 0),
}


@dataclass(frozen=True)
class Benchmark:
    """Measure speed: environment steps a second, seconds per meta-iteration split in two, peak memory."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Cases to run; none means all."""
    repeats: int = 7
    """Timed repetitions, after two that are not counted; medians are reported."""
    output: Path | None = None
    """A JSON file for the figures."""
    session: Session = field(default_factory=Session)


def run_case(name: str, session: Session, repeats: int) -> dict[str, Any]:
    """The figures of one case, with the peak memory of this process."""
    function, options = CASES[name]
    device = session.apply()
    figures = function(device, repeats, **options)
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS and in KiB on Linux
    figures["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6
    if device == "cuda":
        figures["peak_device_memory_mb"] = torch.cuda.max_memory_allocated() / 1e6
    return {"name": name, **figures}


def main(arguments: list[str]) -> None:
    cases = f"Cases: {', '.join(CASES)}."
    args = tyro.cli(Benchmark, prog="benchmark.py", description=f"{__doc__}\n{cases}", args=arguments,
                    config=(tyro.conf.OmitArgPrefixes,))  # fmt: skip
    for name in args.names:
        if name not in CASES:
            raise unknown("benchmark", name, CASES)
    require(args.repeats >= 1, f"repeats must be at least 1, not {args.repeats}.")
    envs.check_device(args.session.apply())
    out = Table(title=f"{platform.processor() or platform.machine()}, torch {torch.__version__}, "
                      f"{torch.get_num_threads()} threads, {args.session.apply()}")  # fmt: skip
    for column in ("case", *COLUMNS):
        out.add_column(column, justify="left" if column == "case" else "right")
    results = []
    for name in args.names or CASES:
        Console(stderr=True).print(f"{name} …", style="dim")
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            r = pool.apply(run_case, (name, args.session, args.repeats))
        results.append(r)
        out.add_row(name, *(f"{r[key]:,.{digits}f}" if key in r else "" for key, digits in COLUMNS.values()))
        if "import_envs_seconds" in r:
            print(f"import torch {r['import_torch_seconds']:.2f} s, import envs {r['import_envs_seconds']:.2f} s")
    Console().print(out)
    if args.output:
        report = {"torch": torch.__version__, "device": args.session.apply(), "threads": torch.get_num_threads()}
        write_atomically(args.output, lambda path: path.write_text(json.dumps({**report, "results": results}) + "\n"))
        print(f"Wrote {args.output}")


if __name__ == "__main__":
    run_main(main)
