"""Several processes on one meta-batch compute what one computes, stop together, and lose nothing when one is lost."""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import json
import math
import multiprocessing
import os
import re
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import trials
from torch import Generator
from torch.distributed import TCPStore

import envs
from envs import InputError
from metarl.algorithms.dpt import DPTConfig
from metarl.algorithms.maml import MAMLConfig
from metarl.algorithms.outer import AdamConfig, TRPOConfig
from metarl.algorithms.recurrent_ppo import RecurrentPPOConfig
from metarl.algorithms.reptile import ReptileConfig
from metarl.algorithms.sb3_ppo import SB3PPOConfig
from metarl.backend import distributed
from metarl.backend.errors import NonFiniteError, ParallelError
from metarl.cli.session import Session
from metarl.evaluation.held_out import HeldOut
from metarl.learning.rollout import Trajectory
from metarl.policies.in_context import InContextConfig
from metarl.policies.metanet import MetaNetConfig
from metarl.policies.mlp import MLPConfig
from metarl.policies.rl2 import RL2Config
from metarl.policies.varibad import VariBADConfig
from metarl.study.runs import read_run
from metarl.training.config import TrainConfig, from_dict, make_algorithm, to_dict
from metarl.training.loop import StopSignals, shard_seed, train, train_iteration
from metarl.training.presets import preset
from metarl.training.run import Run

SCRIPTS = Path(__file__).parents[3] / "scripts"
TIMINGS = {"seconds", "sampling_seconds", "optimization_seconds"}
NET = MetaNetConfig(hidden_size=8, num_heads=2, key_size=3, code_size=3, action_units=4, num_slots=2)


def environment(rank: int, processes: int = 2, port: int = 0) -> dict[str, str]:
    """What torchrun tells a process: also that it keeps the store itself, which so outlives every process."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    return {**{key: str(n) for key, n in numbers.items()}, **place}


class Job:
    """`work(rank)` in copies of this process, which start at once, as torchrun would start them."""

    def __init__(self, folder: Path, work, processes: int = 2) -> None:
        import torch.utils.tensorboard  # noqa: F401  so that the copies need not

        folder.mkdir(parents=True, exist_ok=True)
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.streams = [folder / f"stream-{rank}" for rank in range(processes)]

        def run(rank: int) -> None:
            stream = self.streams[rank].open("w")
            for number in (1, 2):
                os.dup2(stream.fileno(), number)
            sys.stdout = sys.stderr = stream
            threading.excepthook = threading.__excepthook__  # pytest has one of its own
            faulthandler.dump_traceback_later(50, file=stream)  # where it is when `finish` gives up
            os.environ.update(environment(rank, processes, self.store.port))
            work(rank)

        context = multiprocessing.get_context("fork")
        self.processes = [context.Process(target=run, args=(rank,)) for rank in range(processes)]
        for process in self.processes:
            process.start()

    def finish(self, seconds: float = 60) -> tuple[list[int | None], list[str]]:
        """Exit status and output of each."""
        end = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.0, end - time.monotonic()))
        running = [process for process in self.processes if process.is_alive()]
        for process in running:
            process.kill()
        outputs = [stream.read_text() for stream in self.streams]
        assert not running, f"{len(running)} processes did not end: {outputs}"
        return [p.exitcode for p in self.processes], outputs


@pytest.fixture
def together(tmp_path):
    """`together(work)` is what `work(rank)` returned in each of two processes."""

    def run(work, processes: int = 2) -> list:
        folder = tmp_path / "job"

        def in_session(rank: int) -> None:
            with distributed.session():
                torch.save(work(rank), folder / f"result-{rank}")

        statuses, outputs = Job(folder, in_session, processes).finish()
        assert statuses == [0] * processes, outputs
        return [torch.load(folder / f"result-{rank}") for rank in range(processes)]

    return run


@pytest.fixture
def script_job(tmp_path):
    """A Job of a script with these arguments; `first(rank)` is called in each process before."""

    def start(name: str, *arguments: object, first=lambda rank: None, processes: int = 2) -> Job:
        def work(rank: int) -> None:
            sys.argv = [f"{name}.py", *map(str, arguments)]
            first(rank)
            runpy.run_path(str(SCRIPTS / sys.argv[0]), run_name="__main__")

        return Job(tmp_path / "job", work, processes)

    return start


def errors(outputs: list[str]) -> list[str]:
    """All messages of a job. There must be no traceback."""
    text = "".join(outputs)
    assert "Traceback" not in text
    return [line for line in text.splitlines() if line.startswith("error: ")]


# --- One update, in float64 ------------------------------------------------------------------------------------------

TRPO = TRPOConfig(cg_iterations=5)
"""Ten iterations on so small a problem multiply a change of the last bit by 10^12, on one process, too."""
UPDATES = {
    "maml": {"outer": TRPO, "num_inner_steps": 2},
    "each task's own scale": {"outer": TRPO, "outer_scale": "task"},
    "a part of the curvature": {"outer": dataclasses.replace(TRPO, curvature_episodes=2)},
    "value network": {"outer": TRPO, "baseline": "value", "value_epochs": 3},
    "meta-sgd": {"outer": TRPO, "learned_rates": "parameter"},
    "promp": {"outer": AdamConfig(inner_kl_coef=5e-4, target_inner_kl=1e-3), "estimator": "lvc"},
}


def gradient_problem(build_problem, case: str) -> SimpleNamespace:
    p = build_problem(num_tasks=4, **UPDATES[case])
    if p.algorithm.value is not None:
        value = p.algorithm.value
        value.module.double()
        value.shift, value.scale = value.shift.double(), value.scale.double()
    return p


def reptile_problem(build_problem, **fields) -> SimpleNamespace:
    p = build_problem(num_tasks=4, num_inner_steps=2)
    config = TrainConfig(algorithm=ReptileConfig(**fields), policy=MLPConfig((5, 4)), num_iterations=4)
    p.algorithm = make_algorithm(config, p.env, Generator().manual_seed(0))
    p.algorithm.start = p.algorithm.start.double()
    return p


def trial_problem(policy, env, num_shards: int) -> SimpleNamespace:
    algorithm = trials.algorithm(env, policy, num_episodes=3, minibatches=2, num_shards=num_shards)
    generator = algorithm.generator
    episodes = algorithm.collect(env, env.sample_tasks(4, generator), 2, generator)
    assert any((t.mask == 0).any() for t in episodes)
    algorithm.network.double()
    if algorithm.bonus:
        algorithm.bonus.nets.double()
    double = [t.map(lambda x: x.double() if x.is_floating_point() else x) for t in episodes]
    return SimpleNamespace(algorithm=algorithm, trajectories=double)


def dpt_problem(env) -> SimpleNamespace:
    algorithm = DPTConfig(num_episodes=2, context_size=6, num_queries=4, minibatches=2)
    config = TrainConfig(algorithm=algorithm, policy=InContextConfig(8, 1), num_iterations=4, shards=2)
    algorithm = make_algorithm(config, env, generator := Generator().manual_seed(0))
    algorithm.generator = generator
    episodes = algorithm.collect(env, env.sample_tasks(4, generator), 2, generator)
    algorithm.network.double()
    double = [t.map(lambda x: x.double() if x.is_floating_point() else x) for t in episodes]
    return SimpleNamespace(algorithm=algorithm, trajectories=double)


PROBLEMS = {
    **{case: lambda build, case=case: gradient_problem(build, case) for case in UPDATES},
    "reptile": lambda build: reptile_problem(build),
    "reptile, ppo": lambda build: reptile_problem(build, inner_loss="ppo", inner_optimizer="adam", inner_lr=0.01),
    "metanet": lambda build: trial_problem(NET, trials.board(), 2),
    "rl2, continuous, four shards": lambda build: trial_problem(RL2Config(8), trials.plane(), 4),
    "varibad with bonuses": lambda build: trial_problem(
        VariBADConfig(hidden_size=8, model_trials=4, novelty_coef=0.1, error_coef=0.1), trials.board(), 2
    ),
    "dpt": lambda build: dpt_problem(trials.board()),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_two_processes_with_half_the_tasks_each_move_as_one_with_all(case, build_problem, together):
    def moved(tasks: slice) -> dict:
        p = PROBLEMS[case](build_problem)
        metrics = [p.algorithm.update([t[tasks] for t in p.trajectories]) for _ in range(2)]
        state = p.algorithm.params.double(), p.algorithm.generator.get_state()
        return {"state": state, "metrics": metrics, "start": PROBLEMS[case](build_problem).algorithm.params.double()}

    whole = moved(slice(None))
    first, second = together(lambda rank: moved(slice(2 * rank, 2 * rank + 2)))
    assert torch.equal(first["state"][0], second["state"][0])
    assert torch.equal(first["state"][1], second["state"][1]) and torch.equal(first["state"][1], whole["state"][1])
    assert first["metrics"] == second["metrics"]
    move = (whole["state"][0] - whole["start"]).abs().max()
    assert move > 1e-4, "the update should change something"
    torch.testing.assert_close(first["state"][0], whole["state"][0], rtol=1e-9, atol=float(move) * 1e-8)
    for found, right in zip(first["metrics"], whole["metrics"], strict=True):
        assert found == pytest.approx(right, rel=1e-6, abs=1e-9)


# --- Whole runs ------------------------------------------------------------------------------------------------------

DAMPED = MAMLConfig(outer=TRPOConfig(cg_iterations=2))
RUNS = {
    "maml": {"algorithm": DAMPED},
    "maml with a value network": {"algorithm": dataclasses.replace(DAMPED, baseline="value", value_epochs=2)},
    "promp": {"algorithm": MAMLConfig(outer=AdamConfig(inner_kl_coef=5e-4), estimator="lvc")},
    "reptile": {"algorithm": ReptileConfig(inner_lr=1.0)},
    "metanet": {"algorithm": RecurrentPPOConfig(num_episodes=2), "policy": NET},
}


def new_run(path: Path, case: str = "maml", **fields) -> Run:
    sizes = {"num_iterations": 3, "meta_batch_size": 4, "num_envs": 3, "shards": 2, "policy": MLPConfig((4,))}
    config = TrainConfig(**{**sizes, **RUNS[case], **fields})
    return Run(path, "maml-point", config, envs.make_config("point", horizon=5, goal_tolerance=0.15))


def trained(path: Path, case: str = "maml", eval_every: int = 0, **fields) -> Run:
    run = new_run(path, case, **fields)
    run.create()
    train(run, quiet=True, held_out=HeldOut(run, eval_every, 2) if eval_every else None)
    return run


def logged(path: Path) -> list[dict]:
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMINGS} for line in lines]


def check_same(found: Run, right: Run, rtol: float = 1e-5) -> None:
    torch.testing.assert_close(found.algorithm.params, right.algorithm.params, rtol=rtol, atol=rtol)
    assert torch.equal(found.generator.get_state(), right.generator.get_state())
    assert (found.iteration, found.env_steps) == (right.iteration, right.env_steps)
    for ours, theirs in zip(logged(found.path), logged(right.path), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("case", RUNS)
def test_two_processes_train_as_one_with_as_many_shards(case, tmp_path, together):
    path = tmp_path / "two"
    states = together(lambda rank: trained(path, case, eval_every=2).state_dict())
    assert torch.equal(states[0]["generator"], states[1]["generator"])
    assert sorted(file.name.split(".")[0] for file in path.iterdir()) == ["checkpoint", "config", "events", "metrics"]
    one = trained(tmp_path / "one", case, eval_every=2)
    check_same(Run.open(path), one)
    assert one.iteration == 3 and ["eval_return_1" in line for line in logged(path)] == [False, True, False]


@pytest.mark.parametrize("then", [1, 2])
def test_a_run_goes_on_with_another_number_of_processes(then, tmp_path, together):
    """Two iterations on 3 - `then` processes and two more on `then`, against four on two."""

    def go_on(path: Path, iterations: int) -> None:
        train(Run.open(path, num_iterations=iterations), quiet=True)

    whole, path = tmp_path / "whole", tmp_path / "run"
    together(lambda rank: trained(whole, num_iterations=4) and None)
    new_run(path, num_iterations=4).create()
    for processes, iterations in ((3 - then, 2), (then, 4)):
        if processes == 1:
            go_on(path, iterations)
        else:
            together(lambda rank, n=iterations: go_on(path, n))
    check_same(Run.open(path), Run.open(whole))


def test_resuming_on_two_processes_costs_no_bit(tmp_path, together):
    def in_parts(rank: int) -> None:
        trained(tmp_path / "whole", "maml with a value network", num_iterations=4)
        trained(tmp_path / "parts", "maml with a value network", num_iterations=2)
        distributed.gather()  # the main process has saved
        train(Run.open(tmp_path / "parts", num_iterations=4), quiet=True)

    together(in_parts)
    parts, whole = Run.open(tmp_path / "parts"), Run.open(tmp_path / "whole")
    assert torch.equal(parts.algorithm.params, whole.algorithm.params)
    assert logged(parts.path) == logged(whole.path)


def test_one_shard_is_a_run_without_shards(tmp_path):
    none, one, two = (trained(tmp_path / str(shards), shards=shards) for shards in (None, 1, 2))
    assert torch.equal(none.algorithm.params, one.algorithm.params)
    assert logged(none.path) == logged(one.path)
    assert not torch.equal(one.algorithm.params, two.algorithm.params)
    old = Run.open(none.path, num_iterations=4)
    assert old.num_shards == 1
    train_iteration(old)
    right = Run.open(one.path, num_iterations=4)
    train_iteration(right)
    assert torch.equal(old.algorithm.params, right.algorithm.params)


def test_shards_and_iterations_have_streams_of_their_own():
    seeds = {shard_seed(seed, iteration, shard) for seed in (0, 1) for iteration in (0, 1, 2) for shard in (0, 1, 2)}
    assert len(seeds) == 18 and shard_seed(1, 2, 0) == shard_seed(1, 2, 0) in seeds


def test_the_parts_of_a_pass_hold_every_trial_once_and_as_many_of_each_shard():
    algorithm = trial_problem(NET, trials.board(), 2).algorithm
    rows = algorithm.minibatches(8)
    assert sorted(torch.cat(rows).tolist()) == list(range(8))
    assert [int((part < 4).sum()) for part in rows] == [2, 2]


def test_runs_that_differ_in_shards_are_one_method(write_run):
    path = write_run(seed=1)
    right = read_run(path).train
    description = json.loads((path / "config.json").read_text())
    description["train"]["shards"] = 2
    (path / "config.json").write_text(json.dumps(description))
    assert read_run(path).train == right


def test_sums_means_and_moments_are_those_of_all_rows(together):
    rows = torch.randn(7, 3, dtype=torch.float64, generator=Generator().manual_seed(0))

    def work(rank: int) -> list:
        own = rows[:2] if rank == 0 else rows[2:]
        padded, mask = torch.cat([own, torch.full((3, 3), torch.nan)]), torch.tensor([1.0] * len(own) + [0.0] * 3)
        x = torch.ones(3, requires_grad=True)
        (x * float(rank + 1)).sum().backward()
        distributed.all_sum_gradients([x, torch.ones(2)])
        assert distributed.from_main(b"main" if rank == 0 else b"") == b"main"
        return [
            distributed.count(own),
            distributed.mean(own),
            distributed.var(own),
            distributed.std(own, 0),
            x.grad,
            distributed.gather(rank, 5),
            *distributed.moments(padded, mask),
        ]

    biased = rows.var(0, correction=0)
    right = [7, rows.mean(0), rows.var(0), biased.sqrt(), torch.full((3,), 3.0), [[0.0, 5.0], [1.0, 5.0]]]
    right += [torch.tensor(7.0), rows.mean(0), biased]
    for found in together(work):
        for a, b in zip(found, right, strict=True):
            torch.testing.assert_close(a, b)


def test_a_sum_is_the_same_to_the_bit_in_every_process(together):
    def work(rank: int) -> list[torch.Tensor]:
        generator = Generator().manual_seed(rank)
        return [distributed.all_sum(torch.randn(n, generator=generator)) for n in (1, 2, 7, 100, 4484)]

    first, *others = together(work, processes=3)
    assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


# --- Stopping, together ----------------------------------------------------------------------------------------------


def at_iteration(run: Run, number: int, act) -> Run:
    """Call `act()` before the episodes of a meta-iteration."""
    collect = run.algorithm.collect

    def wrapped(*args):
        if run.iteration + 1 == number:
            act()
        return collect(*args)

    run.algorithm.collect = wrapped
    return run


def prepared(number: int, on: int, act):
    """For `script_job`: `act()` in the process `on` before the episodes of a meta-iteration."""

    def first(rank: int) -> None:
        init = Run.__init__

        def wrapped(self, *args, **kwargs):
            init(self, *args, **kwargs)
            if rank == on:
                at_iteration(self, number, act)

        Run.__init__ = wrapped

    return first


TINY = ["--meta-batch-size", 4, "--num-envs", 3, "--eval-num-envs", 4, "--hidden-sizes", 4, "--env.horizon", 5]
NEW = ["maml-point", "--num-iterations", 6, "--device", "cpu", *TINY]


def test_a_signal_in_one_process_stops_all_after_the_same_iteration(script_job, tmp_path):
    path = tmp_path / "run"
    interrupt = prepared(3, 1, lambda: os.kill(os.getpid(), signal.SIGINT))
    statuses, outputs = script_job("train", *NEW, "--run-dir", path, first=interrupt).finish()
    assert statuses == [128 + signal.SIGINT] * 2
    assert errors(outputs) == []
    told = f"torchrun --nproc-per-node 2 -m metarl train --resume {path}\n"
    assert outputs[0].count("Stopped by SIGINT and saved. Go on with: " + told) == 1
    assert outputs[1] == ""
    assert Run.open(path).iteration == 3
    statuses, outputs = script_job("train", "--resume", path, "--device", "cpu").finish()
    assert statuses == [0, 0]
    assert outputs[0].count(f"Resuming {path} after iteration 3 of 6.") == 1
    assert outputs[1] == ""
    assert [line["iteration"] for line in logged(path)] == [1, 2, 3, 4, 5, 6]
    assert Run.open(path).config.shards == 2


@pytest.mark.parametrize(("victim", "kept"), [(0, 2), (1, 3)])
def test_a_killed_process_ends_the_job_in_one_sentence(victim, kept, script_job, tmp_path, sentence):
    """Where the main process is left, it saves the iterations that are done; else the last checkpoint counts."""
    path = tmp_path / "run"
    kill = prepared(4, victim, lambda: os.kill(os.getpid(), signal.SIGKILL))
    job = script_job("train", *NEW, "--run-dir", path, "--checkpoint-every", 2, first=kill)
    statuses, outputs = job.finish(30)
    assert statuses[victim] == -signal.SIGKILL
    assert statuses[1 - victim] == 1
    (error,) = errors(outputs)
    assert "iteration 4" in sentence(error) and f"--resume {path}" in error
    run = Run.open(path)
    assert run.iteration == kept
    train(run, quiet=True)
    assert [line["iteration"] for line in logged(path)] == [1, 2, 3, 4, 5, 6]


def test_a_fault_in_one_process_is_told_there_and_ends_all(script_job, tmp_path):
    path = tmp_path / "run"
    statuses, outputs = script_job("train", *NEW, "--run-dir", path, first=prepared(3, 1, lambda: 1 / 0)).finish()
    assert statuses == [1, 1]
    assert "ZeroDivisionError" in outputs[1]
    (error,) = errors(outputs[:1])
    assert "iteration 3" in error and f"--resume {path}" in error
    assert Run.open(path).iteration == 2


def nan_rewards(run: Run) -> None:
    step = run.env.step
    run.env.step = lambda *args: dataclasses.replace(result := step(*args), reward=result.reward * math.nan)


def test_a_number_that_is_not_finite_in_one_process_ends_all(tmp_path, together, sentence):
    path = tmp_path / "run"

    def work(rank: int) -> str:
        run = new_run(path)
        run.create()
        at_iteration(run, 2, lambda: nan_rewards(run) if rank == 1 else None)
        with pytest.raises(NonFiniteError) as error:
            train(run, quiet=True)
        return str(error.value)

    first, second = together(work)
    assert first == second
    assert "Iteration 2 met numbers that are not finite (return_0, return_1)" in sentence(first)
    assert Run.open(path).iteration == 1


def test_processes_that_come_apart_say_so(tmp_path, together, sentence):
    path = tmp_path / "run"

    def work(rank: int) -> str:
        run = new_run(path)
        run.create()
        update = run.algorithm.update

        def drifting(trajectories: list[Trajectory]) -> dict[str, float]:
            metrics = update(trajectories)
            run.algorithm.meta = run.algorithm.meta + 1e-3 * rank * (run.iteration == 1)
            return metrics

        run.algorithm.update = drifting
        with pytest.raises(ParallelError) as error:
            train(run, quiet=True)
        return str(error.value)

    for message in together(work):
        assert "ended with different parameters" in sentence(message)
        assert "in iteration 2; go on from the last checkpoint" in message
    assert Run.open(path).iteration == 1


def test_all_start_from_what_the_main_process_holds(tmp_path, together):
    def work(rank: int) -> torch.Tensor:
        run = new_run(tmp_path / "run", num_iterations=1)
        run.create()
        run.algorithm.meta = run.algorithm.meta + rank
        train(run, quiet=True)
        return run.algorithm.params

    first, second = together(work)
    assert torch.equal(first, second)
    assert torch.equal(first, Run.open(tmp_path / "run").algorithm.params)


# --- Bad input -------------------------------------------------------------------------------------------------------

REFUSED = {
    "tasks that cannot be shared": (
        ["maml-point", "--run-dir", "new", "--meta-batch-size", 5],
        "a multiple of the number of shards (by default that of processes), and 5 is not one of 2.",
    ),
    "shards that cannot be shared": (
        ["maml-point", "--run-dir", "new", "--meta-batch-size", 6, "--shards", 3],
        "The run new has 3 shards, which 2 processes cannot share equally; ",
    ),
    "a run of one process": (["--resume", "alone"], "The run alone has 1 shards, which 2 processes cannot share"),
    "a method of one process": (["sb3-ppo-point", "--run-dir", "new"], "This method trains in one process; "),
    "a folder that is taken": (["maml-point", "--run-dir", "alone"], "alone already holds a run with another config"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_told_once(case, script_job, tmp_path, files, sentence):
    arguments, words = REFUSED[case]
    trained(tmp_path / "alone", shards=None, num_iterations=1)
    before = files(tmp_path / "alone")
    statuses, outputs = script_job("train", *arguments, first=lambda rank: os.chdir(tmp_path)).finish()
    assert statuses[0] != 0 and statuses[1] != 0
    (error,) = errors(outputs)
    assert words in sentence(error)
    assert files(tmp_path / "alone") == before
    assert not (tmp_path / "new").exists()


def test_an_unknown_option_is_told_once(script_job, tmp_path):
    statuses, outputs = script_job("train", *NEW, "--run-dir", tmp_path / "run", "--num-iteration", 5).finish()
    assert statuses == [2, 2]
    assert "Unrecognized options: --num-iteration" in outputs[0]
    assert outputs[1] == ""


@pytest.mark.parametrize("rank", [0, 1])
def test_other_scripts_want_one_process(rank, script, tmp_path, monkeypatch, sentence):
    for key, value in environment(rank).items():
        monkeypatch.setenv(key, value)
    result = script("evaluate", tmp_path)
    assert result.status == 2
    if rank == 0:
        assert "without torchrun" in sentence(result.err)
    else:
        assert result.err == ""


def test_shards_below_one_and_shards_of_stable_baselines_are_refused():
    with pytest.raises(InputError, match=r"shards must be at least 1, not 0\."):
        TrainConfig(shards=0)
    with pytest.raises(InputError, match="trains in one process"):
        TrainConfig(algorithm=SB3PPOConfig(), shards=2)
    config = dataclasses.replace(preset("maml-point"), shards=4)
    assert from_dict(TrainConfig(), json.loads(json.dumps(to_dict(config)))) == config


def test_processes_of_a_machine_share_its_cores(monkeypatch):
    before, cores = torch.get_num_threads(), len(os.sched_getaffinity(0))
    try:
        Session(device="cpu").apply()
        assert torch.get_num_threads() == before
        for key, value in environment(0, 2).items():
            monkeypatch.setenv(key, value)
        Session(device="cpu").apply()
        assert torch.get_num_threads() == max(1, cores // 2)
        Session(device="cpu", num_threads=3).apply()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_each_process_takes_a_cuda_device_of_its_own(monkeypatch, sentence):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    assert Session().apply() == "cuda"
    for processes in (2, 3):
        for key, value in environment(1, processes).items():
            monkeypatch.setenv(key, value)
        assert Session(device="cpu").apply() == "cpu"
        if processes == 2:
            assert Session().apply() == "cuda:1"
    assert chosen == [1]
    with pytest.raises(InputError) as error:
        Session().apply()
    assert "3 processes cannot share 2 CUDA devices" in sentence(error)


def test_a_signal_that_arrives_while_processes_agree_is_heard_the_next_time(monkeypatch):
    stop, told = StopSignals(), []

    def gather(number: float) -> list[list[float]]:
        told.append(number)
        stop.received = signal.SIGTERM
        return [[number], [0]]

    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "gather", gather)
    assert [stop.reached(), stop.reached()] == [False, True]
    assert told == [0, signal.SIGTERM] and stop.received == signal.SIGTERM


# --- torchrun itself -------------------------------------------------------------------------------------------------


def torchrun(*arguments: object) -> subprocess.Popen:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    script = [str(SCRIPTS / "train.py"), *map(str, arguments)]
    return subprocess.Popen(launcher + script, text=True, **pipes)


def wait_for_iterations(path: Path, number: int) -> None:
    end = time.monotonic() + 120
    while not (path / "metrics.jsonl").exists() or len((path / "metrics.jsonl").read_text().splitlines()) < number:
        assert time.monotonic() < end, "training did not start"
        time.sleep(0.01)


@pytest.mark.slow
def test_torchrun_passes_on_a_signal_and_ends_after_a_kill(tmp_path):
    path = tmp_path / "run"
    many = ["maml-point", "--num-iterations", 100_000, "--device", "cpu", "--run-dir", path, *TINY]
    job = torchrun(*many)
    wait_for_iterations(path, 3)
    job.send_signal(signal.SIGINT)
    out, _ = job.communicate(timeout=60)
    assert job.returncode != 0
    assert out.count("Stopped by SIGINT and saved. Go on with: torchrun --nproc-per-node 2 -m metarl train") == 1, out
    done = Run.open(path).iteration
    assert done >= 3 and len(logged(path)) == done

    job = torchrun("--resume", path, "--device", "cpu")
    wait_for_iterations(path, done + 3)
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    numbers = {
        int(re.search(rb"(?<=\0RANK=)\d+", Path(f"/proc/{child}/environ").read_bytes())[0]): int(child)
        for child in children
    }
    os.kill(numbers[1], signal.SIGKILL)
    out, _ = job.communicate(timeout=60)
    assert job.returncode != 0
    assert len(re.findall(r"^error: A worker was lost in iteration \d+; ", out, re.MULTILINE)) == 1
    assert Run.open(path).iteration >= done + 3
    with contextlib.suppress(ProcessLookupError):
        os.kill(numbers[0], 0)
        pytest.fail("the other process is still there")


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_cuda_devices_train_as_one_with_both_shards(tmp_path):
    few = ["maml-point", "--num-iterations", 3, "--device", "cuda", "--cg-iterations", 2, *TINY]
    job = torchrun(*few, "--run-dir", tmp_path / "two")
    out, _ = job.communicate(timeout=300)
    assert job.returncode == 0, out
    one = [sys.executable, SCRIPTS / "train.py", *few, "--run-dir", tmp_path / "one", "--shards", 2]
    subprocess.run(list(map(str, one)), check=True, timeout=300)
    found, right = (Run.open(tmp_path / name, "cuda") for name in ("two", "one"))
    torch.testing.assert_close(found.algorithm.params, right.algorithm.params, rtol=1e-4, atol=1e-4)
