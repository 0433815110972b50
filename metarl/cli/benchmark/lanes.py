"""How metarl benchmark measures lanes of Gymnasium environments: plain loops, AsyncVectorEnv, and our workers."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Generator

import envs
from metarl.cli.session import TrainSession

HORIZON = 100
Way = Literal["loop", "loops", "async", "worker", "workers"]
"""Plain loops in one and in two processes, a process for each lane, and one and two workers."""


def cart_pole() -> gymnasium.Env:
    """CartPole whose episodes do not end, so that all ways take the same steps."""
    env = gymnasium.make("CartPole-v1")
    unbounded: Any = env.unwrapped
    unbounded.theta_threshold_radians = unbounded.x_threshold = np.inf
    unbounded.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
    return env


MAKE: dict[str, Callable[[], gymnasium.Env]] = {
    "cart-pole": cart_pole,
    "half-cheetah": lambda: gymnasium.make("HalfCheetah-v5"),
}


def gymnasium_lanes(session: TrainSession, repeats: int, environment: str, way: Way, lanes: int) -> dict[str, Any]:
    """Environment steps a second in episodes of 100 steps, resets included; of workers also start and memory."""
    if way in ("worker", "workers"):
        return _workers(repeats, environment, lanes, 1 if way == "worker" else 2)
    count = 2 if way == "loops" else 1
    arguments = f"{way!r}, {environment!r}, {lanes // count}, {repeats}"
    code = f"from metarl.cli.benchmark.lanes import rate; print(rate({arguments}))"
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    return {"env_steps_per_second": sum(float(process.communicate()[0]) for process in processes)}


def rate(way: Way, environment: str, lanes: int, repeats: int) -> float:
    """Environment steps a second in this process, of plain loops or of `AsyncVectorEnv`."""
    make = MAKE[environment]
    if way == "async":
        vector = gymnasium.vector.AsyncVectorEnv([make] * lanes)
        actions = [vector.action_space.sample() for _ in range(HORIZON)]

        def play() -> None:
            vector.reset(seed=0)
            for action in actions:
                vector.step(action)

    else:
        made = [make() for _ in range(lanes)]
        rows = [[env.action_space.sample() for env in made] for _ in range(HORIZON)]

        def play() -> None:
            for env in made:
                env.reset(seed=0)
            for row in rows:
                for env, action in zip(made, row, strict=True):
                    env.step(action)

    return lanes * HORIZON / _median(repeats, play)


def _workers(repeats: int, environment: str, lanes: int, workers: int) -> dict[str, Any]:
    family = envs.from_gymnasium(MAKE[environment], [{"none": 0.0}], lambda env, task: None, HORIZON)
    env: Any = family(dataclasses.replace(family.presets["default"], workers=workers), torch.device("cpu"))
    generator = Generator().manual_seed(0)
    task = env.sample_tasks(lanes, generator)
    start = time.perf_counter()
    env.reset(task, 1, generator)
    started = time.perf_counter() - start
    actions = [env.random_actions(task, env.reset(task, 1, generator)[0], None, generator) for _ in range(HORIZON)]

    def play() -> None:
        state, _ = env.reset(task, 1, generator)
        for action in actions:
            state = env.step(task, state, action, generator).state

    seconds = _median(repeats, play)
    memory = [_resident_mb(own.process.pid) for own in env.pool.workers]
    figures = {"start_seconds": started, "worker_memory_mb": sum(memory) / len(memory)}
    return {"env_steps_per_second": lanes * HORIZON / seconds, **figures}


def _median(repeats: int, play: Callable[[], None]) -> float:
    """Seconds of a call, after one that is not counted."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        play()
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:])


def _resident_mb(process: int) -> float:
    """Memory of a process, 0 where the system does not say."""
    file = Path(f"/proc/{process}/statm")
    return int(file.read_text().split()[1]) * 4096 / 1e6 if file.exists() else 0.0
