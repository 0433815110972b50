"""How many threads PyTorch gets beside other programs, and the watch over slow meta-iterations."""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch

import envs
from envs import threads as env_threads
from envs.threads import Usage
from metarl.backend import cores
from metarl.backend.cores import ShortWaits, Watch, choose
from metarl.cli.session import Session
from metarl.training import config_file
from metarl.training.config_file import recorded_threads
from metarl.training.loop import train


@pytest.mark.parametrize(
    ("team", "cores", "busy", "expected"),
    [
        (2, 2, 0.0, 2),
        (2, 2, 0.4, 2),
        (2, 2, 1.0, 1),
        (2, 2, 2.0, 1),
        (64, 64, 10.2, 54),
        (4, 8, 1.0, 4),
        (1, 2, 0.0, 1),
    ],
)
def test_threads_leave_cores_to_others(team, cores, busy, expected):
    assert choose(team, cores, busy) == expected


@pytest.fixture
def machine(monkeypatch):
    """`machine(busy)`: this process has two threads on two cores, of which others keep `busy` busy."""

    def load(busy: float) -> None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr(env_threads, "STARTED", Usage(0.0, 0.0, 0.0, 2))
        monkeypatch.setattr(env_threads, "usage", lambda: Usage(2.0, 2 * busy + 1, 1.0, 2))
        monkeypatch.setattr(env_threads, "for_physics", None)
        cores.measured.cache_clear()
        cores._say_once.cache_clear()
        torch.set_num_threads(2)

    yield load
    cores.measured.cache_clear()
    torch.set_num_threads(1)


def test_on_a_quiet_machine_all_cores_compute_and_nothing_is_said(machine, capfd):
    machine(0.1)
    Session(device="cpu").apply()
    assert torch.get_num_threads() == 2
    assert capfd.readouterr().err == "" and env_threads.for_physics is None


def test_beside_a_busy_program_one_thread_computes_and_one_line_says_so(machine, capfd, sentence):
    machine(1.0)
    for _ in range(2):  # a benchmark applies its session twice
        Session(device="cpu").apply()
        assert torch.get_num_threads() == 1
    told = sentence(capfd.readouterr().err)
    assert "1.0 of 2 cores" in told and "--num-threads 2" in told
    physics = envs.make("half-cheetah-vel").physics
    assert physics.num_threads == 4


@pytest.mark.parametrize("name", ["option", "variable"])
def test_the_users_number_of_threads_wins(machine, capfd, monkeypatch, name):
    machine(1.0)
    if name == "variable":
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    Session(device="cpu", num_threads=2 if name == "option" else 0).apply()
    assert torch.get_num_threads() == 2 and capfd.readouterr().err == ""


def test_a_run_goes_on_with_the_threads_it_began_with(machine, make_run, capfd, sentence):
    run = make_run()
    assert recorded_threads(run.path) == 1
    machine(0.0)
    Session(device="cpu").apply(recorded_threads(run.path))
    assert torch.get_num_threads() == 1
    assert "--num-threads 2" in sentence(capfd.readouterr().err)
    config_file.write(run.path, run.description)
    machine(1.0)
    config_file.write(run.path, run.description)
    Session(device="cpu").apply(recorded_threads(run.path))
    assert torch.get_num_threads() == 2
    assert "--num-threads 1" in sentence(capfd.readouterr().err)
    machine(0.0)
    Session(device="cpu", num_threads=1).apply(recorded_threads(run.path))
    assert torch.get_num_threads() == 1


def test_runs_that_do_not_say_their_threads_go_on(trained):
    config = json.loads((trained / "config.json").read_text())
    del config["threads"]
    (trained / "config.json").write_text(json.dumps(config))
    assert recorded_threads(trained) is None


def test_torch_before_envs_is_one_warning_where_it_trains(machine, make_run, monkeypatch):
    monkeypatch.setattr(env_threads, "TOO_LATE", True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(make_run("one", num_iterations=1), quiet=True)  # with one thread nobody waits
    machine(0.0)
    with pytest.warns(UserWarning, match="import envs first") as caught:
        train(make_run("two", num_iterations=2), quiet=True)
    assert len(caught) == 1 and caught[0].filename == __file__


def watched(monkeypatch, seconds: list[float], busy: float = 1.0, kinds: list[str] | None = None) -> list[str | None]:
    """What a watch says after each of these iterations, beside others that keep `busy` cores busy."""
    clock = [0.0]
    monkeypatch.setattr(env_threads, "usage", lambda: Usage(clock[0], clock[0] * (1 + busy), clock[0], 2))
    watch, told = Watch(), []
    for i, (s, kind) in enumerate(zip(seconds, kinds or ["return_0"] * len(seconds), strict=True)):
        clock[0] += s
        metrics = {"sampling_seconds": s / 4, "optimization_seconds": 3 * s / 4, kind: 0.0}
        told.append(watch.note(i + 1, metrics, "--resume runs/mine"))
    return told


def test_the_watch_speaks_once_when_iterations_take_many_times_as_long(monkeypatch, sentence):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    told = watched(monkeypatch, [1.0] * 8 + [9.0] * 20)
    assert told[:8] == [None] * 8 and told[9:] == [None] * 19
    assert "--resume runs/mine --num-threads 1" in sentence(told[8])
    assert "1.0 cores" in sentence(told[8])
    slower = watched(monkeypatch, [1.0] * 8 + [2.4] * 6)  # what the bound on waiting leaves of it
    assert [bool(text) for text in slower].index(True) == 10


def test_the_watch_gives_no_advice_that_does_not_help(monkeypatch, sentence):
    seconds = [1.0] * 8 + [9.0]
    assert "--num-threads" not in sentence(watched(monkeypatch, seconds)[-1])  # one thread already
    assert "programs" not in sentence(watched(monkeypatch, seconds, busy=0.0)[-1])


@pytest.mark.parametrize(
    "seconds",
    [[5.0] + [1.0] * 20, [1.0] * 8 + [1.8] * 20, [0.01] * 8 + [0.3] + [0.01] * 8, [1.0, 9.0, 9.0, 9.0]],
    ids=["a slow start", "not twice", "a hiccup", "too few to tell"],
)
def test_the_watch_keeps_quiet(monkeypatch, seconds):
    assert not any(watched(monkeypatch, seconds))


def test_pretraining_is_not_what_other_iterations_are_held_against(monkeypatch):
    kinds = ["return_0"] * 20 + ["return_1"] * 10
    assert not any(watched(monkeypatch, [1.0] * 20 + [6.0] * 10, kinds=kinds))


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_beside_others_a_second_team_shortens_the_waits_and_goes_again():
    def tasks() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    def become(number: int) -> bool:
        deadline = time.monotonic() + 20
        while tasks() != number and time.monotonic() < deadline:
            time.sleep(0.01)
        return tasks() == number

    torch.set_num_threads(2)
    torch.ones(2**20).add_(1)  # the first team
    before, waits = tasks(), ShortWaits()
    try:
        waits.set(0.3)
        assert tasks() == before
        for busy in (1.0, 1.0, 0.3):  # on, and so until the machine is quiet
            waits.set(busy)
            assert become(before + 2)
        waits.set(0.1)
        assert become(before)
    finally:
        waits.close()
        torch.set_num_threads(1)
    waits.set(1.0)
    assert waits.end is None  # one thread waits for nobody


def test_training_switches_the_waits_by_what_others_use(monkeypatch):
    asked: list[float] = []
    monkeypatch.setattr(ShortWaits, "set", lambda self, busy: asked.append(busy))
    watched(monkeypatch, [0.6] * 6, busy=1.0)
    assert asked == pytest.approx([1.0] * 3)


def test_training_prints_what_the_watch_says(make_run, monkeypatch, capfd):
    monkeypatch.setattr(Watch, "note", lambda self, i, metrics, resume: f"{resume} is slow." if i == 2 else None)
    run = make_run(num_iterations=3)
    train(run)
    assert capfd.readouterr().err.count(f"--resume {run.path} is slow.") == 1


def test_the_threads_of_both_packages_are_one_module():
    assert sys.modules["envs.threads"] is env_threads
