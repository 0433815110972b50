"""How benchmark.py measures: functions from (session, repeats) and the options of a case to figures."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import torch
from benchmark_limits import Work
from benchmark_limits import count as count_work
from torch import Generator, Tensor

import envs
import metarl.learning.rollout
from envs.locomotion.robot import Robot
from envs.structs import Struct
from metarl.algorithms.maml import MAML, MAMLConfig
from metarl.algorithms.recurrent_ppo import RecurrentPPO
from metarl.backend.cuda_graphs import Graphs
from metarl.cli import TrainSession
from metarl.learning.linearize import AutogradLinearization, linearize
from metarl.learning.rollout import Trajectory, policy_actor, rollout
from metarl.policies.gru import GRUConfig
from metarl.policies.mlp import MLPConfig, MLPPolicy
from metarl.training.config import Algorithm, make_algorithm
from metarl.training.presets import preset


class PlainPolicy(MLPPolicy):
    """The readable version: every derivative by automatic differentiation."""


linearize.register(PlainPolicy, AutogradLinearization)


def _make(family: str, session: TrainSession) -> tuple[envs.Env, Generator]:
    device = session.apply()
    config = envs.make_config(family)
    if hasattr(config, "engine"):
        config = session.choose_engine(config)
    env = envs.family(family).build(config, device)
    return env, Generator(device).manual_seed(0)


def steps(session: TrainSession, repeats: int, family: str, lanes: int) -> dict[str, Any]:
    """Environment steps a second under random actions, a task for each lane, and bytes of task and state a lane."""
    env, generator = _make(family, session)
    task = env.sample_tasks(lanes, generator)
    state, _ = env.reset(task, 1, generator)
    size = sum(tensor.nbytes for struct in (task, state) for tensor in vars(struct).values())
    count = max(10, min(1000, (20_000 if isinstance(env, Robot) else 2_000_000) // lanes))

    def work() -> None:
        moving = state
        for t in range(count):
            if t % env.horizon == 0:
                moving, _ = env.reset(task, 1, generator)
            action = env.random_actions(task, moving, None, generator)
            moving = env.step(task, moving, action, generator).state

    median = _median(work, repeats, warm=1)
    work_done = {} if isinstance(env, Robot) else _work(count_work(work), median)
    return {"env_steps_per_second": count * lanes / median, "bytes_per_lane": size / lanes, **work_done}


def _work(work: Work, seconds: float) -> dict[str, float]:
    """What benchmark.py holds against the machine's limits."""
    return {"work_seconds": seconds, **{f"work_{key}": x for key, x in vars(work).items()}}


def policy_steps(session: TrainSession, repeats: int, family: str, lanes: int) -> dict[str, Any]:
    """Environment steps a second with a policy of 64 x 64 tanh units in the loop, which differs from task to task."""
    env, generator = _make(family, session)
    num_tasks = min(128, lanes // 8)
    policy = MLPPolicy(env.observation_space, env.action_space, MLPConfig())
    task, params = env.sample_tasks(num_tasks, generator), policy.init(generator).expand(num_tasks, -1)
    graphs = Graphs(session.graphs)

    def play(params: Tensor, task: Struct) -> Trajectory:
        return rollout(env, policy_actor(policy, params, generator), task, lanes // num_tasks, generator)

    median = _median(lambda: graphs("play", play, params, task, generators=[generator]), repeats, warm=2)
    return {
        "sampling_steps_per_second": lanes * env.horizon / median,
        **_work(count_work(lambda: play(params, task)), median),
    }


def frozen_lake(session: TrainSession, repeats: int, lanes: int) -> dict[str, Any]:
    """For comparison: Gymnasium's own FrozenLake in its own vector environment."""
    env = gymnasium.make_vec("FrozenLake-v1", num_envs=lanes, vectorization_mode="sync")
    env.reset(seed=0)
    count = max(10, 20_000 // lanes)
    actions = [env.action_space.sample() for _ in range(count)]
    return {"env_steps_per_second": count * lanes / _median(lambda: [env.step(a) for a in actions], repeats, warm=0)}


def maml(
    session: TrainSession,
    repeats: int,
    family: str = "point",
    num_tasks: int = 20,
    num_envs: int = 20,
    inner_steps: int = 1,
    plain: bool = False,
    groups: bool = True,
    **config: Any,
) -> dict[str, Any]:
    """Seconds per meta-iteration of MAML-TRPO: by default on 2D navigation, H = 100, 64x64 tanh, 10 CG iterations."""
    if not groups:
        metarl.learning.rollout.CHUNK_STEPS = sys.maxsize
    env, generator = _make(family, session)
    kind = PlainPolicy if plain else MLPPolicy
    policy = kind(env.observation_space, env.action_space, MLPConfig())
    algorithm = MAML(MAMLConfig(num_inner_steps=inner_steps, **config), env, policy, generator)
    return _meta_iteration(session, env, algorithm, num_tasks, num_envs, generator, repeats)


def method(session: TrainSession, repeats: int, preset_name: str) -> dict[str, Any]:
    """Seconds per meta-iteration of a preset."""
    config = preset(preset_name)
    env, generator = _make(config.env, session)
    algorithm = make_algorithm(config, env, generator)
    return _meta_iteration(session, env, algorithm, config.meta_batch_size, config.num_envs, generator, repeats)


def _meta_iteration(
    session: TrainSession,
    env: envs.Env,
    algorithm: Algorithm,
    num_tasks: int,
    num_envs: int,
    generator: Generator,
    repeats: int,
) -> dict[str, Any]:
    trajectories: list[Trajectory] = []

    def collect() -> None:
        trajectories[:] = algorithm.collect(env, task, num_envs, generator)

    task = env.sample_tasks(num_tasks, generator)
    whole = count_work(lambda: algorithm.update(algorithm.collect(env, task, num_envs, generator)))
    session.speed_up(algorithm, env)
    sampling, optimization = [], []
    for _ in range(repeats + 2):
        task = env.sample_tasks(num_tasks, generator)
        sampling.append(_timed(collect))
        optimization.append(_timed(lambda: algorithm.update(trajectories)))
    count = sum(t.reward.numel() for t in trajectories)
    figures = _parts(sampling[2:], optimization[2:], count)
    work = {} if isinstance(env, Robot) else _work(whole, figures["total_seconds"])
    return {**figures, "sampling_steps_per_second": count / figures["sampling_seconds"], **work}


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
    """Seconds per meta-iteration of a preset by train.py in `count` processes of one thread, and the memory of one.

    By default there are two shards, the same for one process and two, and so is what is computed.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)] if count > 1 else []
    with tempfile.TemporaryDirectory() as folder:
        run, n = Path(folder) / "run", repeats + 2
        options = {"run_dir": run, "num_iterations": n, "checkpoint_every": n, "shards": 2, "num_threads": 1}
        options |= {"device": session.device, **fields}
        script = [str(Path(__file__).with_name("train.py")), preset_name]
        command = [*launcher, *script, *(f"--{name}={value}" for name, value in options.items())]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, env=one_thread)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    sampling, optimization = ([x[f"{part}_seconds"] for x in lines[2:]] for part in ("sampling", "optimization"))
    figures = _parts(sampling, optimization, lines[-1]["env_steps"] / n)
    return {**figures, "threads": 1, "peak_memory_mb": peak_memory_mb(resource.RUSAGE_CHILDREN)}


def memory(session: TrainSession, repeats: int, form: Any, pulls: int, count: int = 25_600) -> dict[str, Any]:
    """Steps a second of acting and of training (PPO's passes together), and bytes of a lane's memory after a trial.

    On Bernoulli bandits with 5 arms, in trials of one episode and `count` steps in a meta-iteration, with the networks
    of the presets.
    """
    device, lanes = session.apply(), count // pulls
    env = envs.make("bernoulli-bandit", "k5-n10", device=device, horizon=pulls)
    generator = Generator(device).manual_seed(0)
    config = preset("rl2-bandit" if form == "rl2" else "metanet-bandit")
    policy = config.policy if isinstance(config.policy, GRUConfig) else replace(config.policy, memory=form)
    config = replace(config, policy=policy, meta_batch_size=lanes)
    algorithm = make_algorithm(config, env, generator)
    assert isinstance(algorithm, RecurrentPPO)
    result = _meta_iteration(session, env, algorithm, lanes, 1, generator, repeats)
    state: Any = None
    inputs = algorithm.collect(env, env.sample_tasks(1, generator), 1, generator)[0].inputs[:, :, 0]
    with torch.no_grad():
        for t in range(pulls):
            _, state = algorithm.network.step(inputs[:, t], state)
    return {
        **{key: x for key, x in result.items() if key != "total_seconds"},
        "training_steps_per_second": lanes * pulls / result["optimization_seconds"],
        "bytes_per_lane": _bytes(state),
    }


def _bytes(x: Any) -> int:
    if isinstance(x, torch.Tensor):
        return x.nbytes
    return sum(_bytes(part) for part in (vars(x).values() if isinstance(x, Struct) else x or ()))


def locomotion(session: TrainSession, repeats: int, family: str, lanes: int = 800) -> dict[str, Any]:
    """Rollouts of 40 tasks with a fresh policy; on the CPU also as a share of a plain C loop over the same work."""
    env, generator = _make(family, session)
    assert isinstance(env, Robot)
    policy = MLPPolicy(env.observation_space, env.action_space, MLPConfig())
    params, task = policy.init(generator).expand(40, -1), env.sample_tasks(40, generator)
    played: list[Trajectory] = []

    def play() -> None:
        played[:] = [rollout(env, act, task, lanes // 40, generator, keep_states=True)]

    def plain_c() -> None:
        assert played[0].states is not None
        _plain_c_loop(env, played[0].states.map(lambda x: x[:, 0, 0]), played[0].action)

    sampling, shares = [], []
    for _ in range(repeats + 1):
        act = policy_actor(policy, params, generator)
        sampling.append(_timed(play))
        if env.device.type == "cpu":
            shares.append(_timed(plain_c) / sampling[-1])
    steps = 40 * (lanes // 40) * env.horizon
    result = {"sampling_steps_per_second": steps / statistics.median(sampling[1:])}
    return {**result, "share_of_plain_c": statistics.median(shares[1:])} if shares else result


def _plain_c_loop(env: Robot, start: Any, action: torch.Tensor) -> None:
    """`mj_step` over every lane of a rollout in one call of `mujoco.rollout`: no Python between the steps."""
    import mujoco
    from mujoco.rollout import Rollout

    model, threads = env.physics.model, torch.get_num_threads()
    zero, full = start.qpos.new_zeros(*start.qpos.shape[:2], 1), mujoco.mjtState.mjSTATE_FULLPHYSICS
    initial = torch.cat([zero, start.qpos, start.qvel], -1).flatten(0, 1).double().numpy()
    assert initial.shape[1] == mujoco.mj_stateSize(model, full)
    control = action.clamp(-1, 1).transpose(1, 2).flatten(0, 1).double()  # [lanes, T, A]
    controls = control.repeat_interleave(env.frame_skip, 1).numpy()
    with Rollout(nthread=threads) as pool:
        for lanes in range(0, len(initial), 100):
            part = slice(lanes, lanes + 100)
            pool.rollout(model, [mujoco.MjData(model) for _ in range(threads)], initial[part], controls[part])


def imports(session: TrainSession, repeats: int) -> dict[str, Any]:
    """Seconds that a fresh interpreter takes to import torch, and to import envs."""
    seconds: dict[str, list[float]] = {"torch": [], "envs": []}
    for _ in range(repeats):
        for module, times in seconds.items():
            times.append(_timed(lambda m=module: subprocess.run([sys.executable, "-c", f"import {m}"], check=True)))
    return {f"import_{module}_seconds": statistics.median(times) for module, times in seconds.items()}


def peak_memory_mb(who: int = resource.RUSAGE_SELF) -> float:
    """Of this process, or of the largest of those that it started."""
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS and in KiB on Linux
    return resource.getrusage(who).ru_maxrss * scale / 1e6


def _median(work: Any, repeats: int, warm: int) -> float:
    """Seconds of a call, after so many that do not count."""
    return statistics.median([_timed(work) for _ in range(repeats + warm)][warm:])


def _timed(work: Any) -> float:
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start
