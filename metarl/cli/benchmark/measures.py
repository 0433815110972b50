"""How metarl benchmark measures: functions from (session, repeats) and the options of a case to figures."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import gymnasium
import torch
from torch import Generator, Tensor

import envs
import metarl.learning.rollout
from envs.structs import Struct, tensors_of
from metarl.algorithms.maml import MAMLConfig
from metarl.backend.cuda_graphs import Graphs
from metarl.cli.benchmark.limits import count as count_work
from metarl.cli.session import TrainSession, has_engine
from metarl.learning.linearize import AutogradLinearization, linearize
from metarl.learning.rollout import Trajectory, policy_actor, rollout
from metarl.policies.mlp import MLPConfig, MLPPolicy
from metarl.training.config import TrainConfig, make_algorithm
from metarl.training.presets import preset

T = TypeVar("T")


def steps(session: TrainSession, repeats: int, family: str, lanes: int) -> dict[str, Any]:
    """Environment steps a second under random actions, a task for each lane, and bytes of task and state a lane."""
    env, generator = _make(family, session)
    task = env.sample_tasks(lanes, generator)
    start, _ = env.reset(task, 1, generator)
    count = max(10, min(1000, (20_000 if has_engine(env.config) else 2_000_000) // lanes))

    def work() -> None:
        state = start
        for t in range(count):
            if t % env.horizon == 0:
                state, _ = env.reset(task, 1, generator)
            state = env.step(task, state, env.random_actions(task, state, None, generator), generator).state

    seconds = _median(repeats, 1, work)
    return {
        "env_steps_per_second": count * lanes / seconds,
        "bytes_per_lane": _bytes(task, start) / lanes,
        "work_seconds": seconds,
        **_work(env, work),
    }


def policy_steps(session: TrainSession, repeats: int, family: str, lanes: int) -> dict[str, Any]:
    """Environment steps a second with a policy of 64 x 64 tanh units in the loop, which differs from task to task."""
    env, generator = _make(family, session)
    num_tasks, graphs = min(128, lanes // 8), Graphs(session.graphs)
    policy = MLPPolicy(env.observation_space, env.action_space, MLPConfig())
    task, params = env.sample_tasks(num_tasks, generator), policy.init(generator).expand(num_tasks, -1)

    def play(params: Tensor, task: Struct) -> Trajectory:
        return rollout(env, policy_actor(policy, params, generator), task, lanes // num_tasks, generator)

    seconds = _median(repeats, 2, lambda: graphs("play", play, params, task, generators=[generator]))
    rate, work = lanes * env.horizon / seconds, _work(env, lambda: play(params, task))
    return {"sampling_steps_per_second": rate, "work_seconds": seconds, **work}


def frozen_lake(session: TrainSession, repeats: int, lanes: int) -> dict[str, Any]:
    """For comparison: Gymnasium's own FrozenLake in its own vector environment."""
    env = gymnasium.make_vec("FrozenLake-v1", num_envs=lanes, vectorization_mode="sync")
    env.reset(seed=0)
    actions = [env.action_space.sample() for _ in range(max(10, 20_000 // lanes))]
    seconds = _median(repeats, 0, lambda: [env.step(action) for action in actions])
    return {"env_steps_per_second": len(actions) * lanes / seconds}


def maml(
    session: TrainSession,
    repeats: int,
    family: str = "point",
    num_tasks: int = 20,
    num_envs: int = 20,
    inner_steps: int = 1,
    plain: bool = False,
    groups: bool = True,
    **options: Any,
) -> dict[str, Any]:
    """Seconds per meta-iteration of MAML-TRPO: by default on 2D navigation, H = 100, 64x64 tanh, 10 CG iterations.

    What `plain` and `groups` change lasts as long as this process.
    """
    if not groups:
        metarl.learning.rollout.CHUNK_STEPS = sys.maxsize
    if plain:
        linearize.register(MLPPolicy, AutogradLinearization)
    algorithm = MAMLConfig(num_inner_steps=inner_steps, **options)
    config = TrainConfig(meta_batch_size=num_tasks, num_envs=num_envs, algorithm=algorithm)
    return _meta_iteration(session, repeats, config, *_make(family, session))


def method(session: TrainSession, repeats: int, preset_name: str) -> dict[str, Any]:
    """Seconds per meta-iteration of a preset."""
    config = preset(preset_name)
    return _meta_iteration(session, repeats, config, *_make(config.env, session))


def memory(session: TrainSession, repeats: int, form: Any, pulls: int, count: int = 25_600) -> dict[str, Any]:
    """Steps a second of acting and of training (PPO's passes together), and bytes of a lane's memory after a trial.

    On Bernoulli bandits with 5 arms, in trials of one episode and `count` steps in a meta-iteration, with the networks
    of the presets.
    """
    config, env, generator = memory_setup(session, form, pulls, count)
    figures = _meta_iteration(session, repeats, config, env, generator)
    del figures["total_seconds"]
    algorithm = make_algorithm(config, env, generator)
    inputs = algorithm.collect(env, env.sample_tasks(1, generator), 1, generator)[0].inputs[:, :, 0]
    state: Any = None
    with torch.no_grad():
        for t in range(pulls):
            assert algorithm.network is not None
            _, state = algorithm.network.step(inputs[:, t], state)
    trained = config.meta_batch_size * pulls / figures["optimization_seconds"]
    return {**figures, "training_steps_per_second": trained, "bytes_per_lane": _bytes(state)}


def memory_setup(session: TrainSession, form: Any, pulls: int, count: int) -> tuple[TrainConfig, envs.Env, Generator]:
    """What `memory` measures."""
    env, generator = _make("bernoulli-bandit", session, "k5-n10", horizon=pulls)
    config = replace(preset("rl2-bandit" if form == "rl2" else "metanet-bandit"), meta_batch_size=count // pulls)
    config = replace(config, num_envs=1)
    if form != "rl2":
        config = replace(config, policy=replace(config.policy, memory=form))
    return config, env, generator


def _meta_iteration(
    session: TrainSession, repeats: int, config: TrainConfig, env: envs.Env, generator: Generator
) -> dict[str, Any]:
    algorithm, lanes = make_algorithm(config, env, generator), (config.num_envs, generator)

    def whole() -> None:
        algorithm.update(algorithm.collect(env, task, *lanes))

    task = env.sample_tasks(config.meta_batch_size, generator)
    if algorithm.network is not None:
        algorithm.collect(env, task, *lanes)  # makes the trace of its step, which the counters would hinder
    work = _work(env, whole)
    session.speed_up(algorithm, env)
    sampling, optimization = [], []
    for _ in range(repeats + 2):
        task = env.sample_tasks(config.meta_batch_size, generator)
        seconds, trajectories = timed(algorithm.collect, env, task, *lanes)
        sampling.append(seconds)
        optimization.append(timed(algorithm.update, trajectories)[0])
    steps = sum(t.reward.numel() for t in trajectories)
    figures = _parts(sampling[2:], optimization[2:], steps)
    rate, seconds = steps / figures["sampling_seconds"], figures["total_seconds"]
    return {**figures, "sampling_steps_per_second": rate, "work_seconds": seconds, **work}


def _parts(sampling: list[float], optimization: list[float], env_steps: float) -> dict[str, Any]:
    """Medians of the two parts of meta-iterations of so many environment steps."""
    a, b = statistics.median(sampling), statistics.median(optimization)
    return {
        "sampling_seconds": a,
        "optimization_seconds": b,
        "total_seconds": a + b,
        "env_steps_per_second": env_steps / (a + b),
    }


def processes(session: TrainSession, repeats: int, preset_name: str, count: int, **fields: Any) -> dict[str, Any]:
    """Seconds per meta-iteration of a preset by metarl train in `count` processes of one thread, and the memory of one.

    By default there are two shards, the same for one process and two, and so is what is computed.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)] if count > 1 else []
    with tempfile.TemporaryDirectory() as folder:
        run, n = Path(folder) / "run", repeats + 2
        options = {"run_dir": run, "num_iterations": n, "checkpoint_every": n, "shards": 2, "num_threads": 1}
        options |= {"device": session.device, **fields}
        given = [f"--{name}={value}" for name, value in options.items()]
        command = [*launcher, "-m", "metarl", "train", preset_name, *given]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, env=one_thread)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    sampling, optimization = ([x[f"{part}_seconds"] for x in lines[2:]] for part in ("sampling", "optimization"))
    figures = _parts(sampling, optimization, lines[-1]["env_steps"] / n)
    return {**figures, "threads": 1, "peak_memory_mb": peak_memory_mb(resource.RUSAGE_CHILDREN)}


def locomotion(session: TrainSession, repeats: int, family: str, lanes: int = 800) -> dict[str, Any]:
    """Rollouts of 40 tasks with a fresh policy; on the CPU also as a share of a plain C loop over the same work."""
    env, generator = _make(family, session)
    policy = MLPPolicy(env.observation_space, env.action_space, MLPConfig())
    act, task = policy_actor(policy, policy.init(generator).expand(40, -1), generator), env.sample_tasks(40, generator)
    rollouts, shares = [], []
    for _ in range(repeats + 1):
        seconds, played = timed(lambda: rollout(env, act, task, lanes // 40, generator, keep_states=True))
        rollouts.append(seconds)
        if env.device.type == "cpu":
            shares.append(timed(_plain_c_loop, env, played)[0] / seconds)
    figures = {"sampling_steps_per_second": 40 * (lanes // 40) * env.horizon / statistics.median(rollouts[1:])}
    return {**figures, "share_of_plain_c": statistics.median(shares[1:])} if shares else figures


def _plain_c_loop(env: Any, played: Trajectory) -> None:
    """The work of a rollout in the engine alone, in one call."""
    start = [getattr(played.states, name)[:, 0, 0].flatten(0, 1) for name in ("qpos", "qvel")]
    control = played.action.clamp(-1, 1).transpose(1, 2).flatten(0, 1)  # [lanes, T, A]
    env.physics.plain_loop(*start, control)


def imports(session: TrainSession, repeats: int) -> dict[str, Any]:
    """Seconds that a fresh interpreter takes to import torch, and to import envs."""
    seconds: dict[str, list[float]] = {"torch": [], "envs": []}
    for _ in range(repeats):
        for module, times in seconds.items():
            times.append(timed(subprocess.run, [sys.executable, "-c", f"import {module}"])[0])
    return {f"import_{module}_seconds": statistics.median(times) for module, times in seconds.items()}


def peak_memory_mb(who: int = resource.RUSAGE_SELF) -> float:
    """Of this process, or of the largest of those that it started."""
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS and in KiB on Linux
    return resource.getrusage(who).ru_maxrss * scale / 1e6


def _make(family: str, session: TrainSession, name: str | None = None, **fields: Any) -> tuple[envs.Env, Generator]:
    """An environment of a family, on the engine of the session where it has one."""
    device, config = session.apply(), envs.make_config(family, name, **fields)
    if has_engine(config):
        config = session.choose_engine(config)
    return envs.family(family).build(config, device), Generator(device).manual_seed(0)


def _work(env: envs.Env, work: Callable[[], Any]) -> dict[str, float]:
    """What metarl benchmark holds against the machine's limits; a physics engine does not tell what it computes."""
    return {} if has_engine(env.config) else {f"work_{key}": x for key, x in vars(count_work(work)).items()}


def _bytes(*structs: Struct) -> int:
    return sum(tensor.nbytes for struct in structs for tensor in tensors_of(struct))


def _median(repeats: int, warm: int, work: Callable[[], Any]) -> float:
    """Seconds of a call, after so many that do not count."""
    return statistics.median([timed(work)[0] for _ in range(repeats + warm)][warm:])


def timed(work: Callable[..., T], *arguments: Any) -> tuple[float, T]:
    """Seconds of a call, and what it returned."""
    start = time.perf_counter()
    result = work(*arguments)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, result
