"""What benchmark.py measures: functions from (device, repeats) to figures, and their names."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

import gymnasium
import torch
from torch import Generator

import envs
import metarl.rollout
from metarl.linearize import AutogradLinearization, linearize
from metarl.maml import MAML, MAMLConfig
from metarl.policy import MLPConfig, MLPPolicy
from metarl.rollout import collect


class PlainPolicy(MLPPolicy):
    """The readable version: every derivative by automatic differentiation."""


linearize.register(PlainPolicy, AutogradLinearization)


def steps(device: str, repeats: int, family: str, lanes: int) -> dict[str, Any]:
    """Environment steps a second under random actions, a task for each lane, and bytes of task and state a lane."""
    env, generator = envs.make(family, device=device), Generator(device).manual_seed(0)
    task = env.sample_tasks(lanes, generator)
    state, _ = env.reset(task, 1, generator)
    size = sum(tensor.nbytes for struct in (task, state) for tensor in vars(struct).values())
    count = max(10, min(1000, 2_000_000 // lanes))

    def work() -> None:
        moving = state
        for t in range(count):
            if t % env.horizon == 0:
                moving, _ = env.reset(task, 1, generator)
            action = env.random_actions(task, moving, None, generator)
            moving = env.step(task, moving, action, generator).state

    seconds = [_timed(device, work) for _ in range(repeats + 1)][1:]
    return {"env_steps_per_second": count * lanes / statistics.median(seconds), "bytes_per_lane": size / lanes}


def frozen_lake(device: str, repeats: int, lanes: int) -> dict[str, Any]:
    """For comparison: Gymnasium's own FrozenLake in its own vector environment."""
    env = gymnasium.make_vec("FrozenLake-v1", num_envs=lanes, vectorization_mode="sync")
    env.reset(seed=0)
    count = max(10, 20_000 // lanes)
    actions = [env.action_space.sample() for _ in range(count)]
    seconds = [_timed("cpu", lambda: [env.step(action) for action in actions]) for _ in range(repeats)]
    return {"env_steps_per_second": count * lanes / statistics.median(seconds)}


def maml(
    device: str, repeats: int, num_tasks: int = 20, num_envs: int = 20, inner_steps: int = 1, plain: bool = False,
    groups: bool = True, **config: Any,
) -> dict[str, Any]:  # fmt: skip
    """Seconds per meta-iteration of MAML-TRPO on 2D navigation: H = 100, 64x64 tanh, 10 CG iterations."""
    if not groups:
        metarl.rollout.CHUNK_STEPS = sys.maxsize
    env, generator = envs.make("point", device=device), Generator(device).manual_seed(0)
    kind = PlainPolicy if plain else MLPPolicy
    policy = kind(env.observation_space, env.action_space, MLPConfig())
    algorithm = MAML(MAMLConfig(num_inner_steps=inner_steps, **config), policy, policy.init(generator))
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
    **{
        f"{family}@{lanes}": (steps, {"family": family, "lanes": lanes})
        for family in envs.FAMILIES
        for lanes in (1, 64, 1024, 16384, 131072)
    },
    **{f"gymnasium-frozen-lake@{lanes}": (frozen_lake, {"lanes": lanes}) for lanes in (1, 64, 1024)},
    "maml": (maml, {}),
    "maml-40-tasks": (maml, {"num_tasks": 40}),
    "maml-200-tasks": (maml, {"num_tasks": 200}),
    "maml-40-episodes": (maml, {"num_envs": 40}),
    "maml-2-inner-steps": (maml, {"inner_steps": 2}),
    "maml-3-inner-steps": (maml, {"inner_steps": 3}),
    "maml-first-order": (maml, {"first_order": True}),
    "maml-curvature-10-of-20": (maml, {"curvature_episodes": 10}),
    "maml-curvature-5-of-20": (maml, {"curvature_episodes": 5}),
    "maml-no-groups": (maml, {"groups": False}),
    "maml-plain": (maml, {"groups": False, "plain": True}),
}
