"""What benchmark.py holds against the machine's limits; its cases themselves are too slow to be run here."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from envs.errors import InputError

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def limits(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import benchmark_limits

    return benchmark_limits


def test_work_is_counted_by_hand(limits):
    a, b, c = torch.ones(3, 5), torch.ones(5, 7), torch.ones(2, 3, 7)
    assert limits.count(lambda: a @ b) == limits.Work(2 * 3 * 5 * 7, 4 * (15 + 35 + 21))
    batch = a.expand(2, 3, 5).clone(), b.expand(2, 5, 7).clone()
    found = limits.count(lambda: c.baddbmm_(*batch))  # reads and writes the first
    assert found == limits.Work(2 * 2 * 3 * 5 * 7, 4 * (42 + 30 + 70 + 42))
    assert limits.count(lambda: a.T.reshape(15).view(3, 5)[1:]) == limits.Work(0, 4 * 30)  # one copy, and views


def test_work_of_derivatives_counts(limits):
    weight, x = torch.ones(5, 7, requires_grad=True), torch.ones(3, 5, requires_grad=True)
    forward = limits.count(lambda: (x @ weight).sum())
    both = limits.count(lambda: torch.autograd.grad((x @ weight).sum(), [weight, x]))
    assert both.flops == 3 * forward.flops and both.bytes > 2 * forward.bytes


def test_a_machine_does_something(limits):
    found = limits.limits("cpu", size=64, length=2**12)
    assert 1e6 < found.flops < 1e15 and 1e6 < found.bytes < 1e15


def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import benchmark

    return benchmark


def test_shares_stand_beside_a_figure(monkeypatch, tmp_path, capfd, limits):
    script = benchmark(monkeypatch)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(script, "in_fresh_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(script, "machine_limits", lambda session: limits.limits("cpu", size=256, length=2**16))
    out = tmp_path / "out.json"
    script.main(["point@64", "reptile-bandit", "--repeats=1", f"--output={out}", "--device=cpu", "--num-threads=1"])
    printed = capfd.readouterr().out
    assert "of bytes/s" in printed and "GFLOP/s" in printed
    report = json.loads(out.read_text())
    most = report["limits_per_second"]
    for result in report["results"]:
        share = result["work_bytes"] / result["work_seconds"] / most["bytes"]
        assert result["share_of_bytes"] == pytest.approx(share) and share > 0
    assert report["results"][1]["share_of_flops"] > 0 and report["results"][1]["total_seconds"] > 0


@pytest.mark.parametrize("form", ["delta", "full", "none", "rl2"])
def test_a_memory_of_constant_size_stays_as_large_in_longer_trials(monkeypatch, form):
    benchmark(monkeypatch)
    import benchmark_measures as measures

    short, long = (
        measures.memory(measures.TrainSession(device="cpu", num_threads=1), 1, form, pulls, count=2 * pulls)
        for pulls in (3, 9)
    )
    assert short["bytes_per_lane"] > 0 and short["training_steps_per_second"] > 0
    assert (long["bytes_per_lane"] > short["bytes_per_lane"]) == (form == "full")


def test_a_case_has_a_process_of_its_own(monkeypatch):
    assert benchmark(monkeypatch).in_fresh_process(os.getpid) != os.getpid()


def test_an_unknown_case_is_one_sentence(script, sentence):
    result = script("benchmark", "maml-poin")
    assert result.status == 2 and "maml-point" in sentence(result.err)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["maml", "--graphs"], "--graphs"),
        (["maml", "--compile"], "--compile"),
        (["imports", "--graphs"], "imports has no use for --graphs"),
    ],
)
def test_options_that_mean_nothing_are_one_sentence(script, sentence, arguments, words):
    result = script("benchmark", *arguments, "--device=cpu")
    assert result.status == 2 and words in sentence(result.err)


def alive(pid: int) -> bool:
    """Does the process run? One that ended and was not waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_neighbours_end_with_the_case_whatever_happens(monkeypatch):
    with pytest.raises(ZeroDivisionError), benchmark(monkeypatch).busy_processes(2) as busy:
        assert len(busy) == 2 and all(alive(process.pid) for process in busy)
        raise ZeroDivisionError
    assert not any(alive(process.pid) for process in busy)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_neighbours_end_when_the_benchmark_is_killed(monkeypatch):
    source = inspect.getsource(benchmark(monkeypatch).busy_processes)
    code = "import os, subprocess, sys, time\nfrom collections.abc import Iterator\n"
    code += f"from contextlib import contextmanager\n{source}\nwith busy_processes(1) as busy:\n"
    code += "    print(busy[0].pid, flush=True)\n    time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        pid = int(killed.stdout.readline())
        assert alive(pid)
        killed.kill()
    deadline = time.monotonic() + 20
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


def test_cases_run_beside_the_neighbours_asked_for(monkeypatch, tmp_path, capfd, limits):
    script, asked = benchmark(monkeypatch), []

    def case(function, *arguments):
        if function is script.machine_limits:
            return limits.Work(1, 1)
        return {"name": arguments[0], "env_steps_per_second": 1.0, "threads": 1}

    monkeypatch.setattr(script, "in_fresh_process", case)
    monkeypatch.setattr(script, "busy_processes", lambda count: asked.append(count) or nullcontext())
    out = tmp_path / "out.json"
    script.main(["point@1", "point@64", "--neighbours", "3", "--output", str(out), "--device", "cpu"])
    assert asked == [3, 3] and json.loads(out.read_text())["neighbours"] == 3
    assert "3 busy processes" in " ".join(capfd.readouterr().out.split())
    for wrong in ("-1", "1000000000"):
        with pytest.raises(InputError, match="neighbours must be from 0 to"):
            script.main(["point@1", "--neighbours", wrong, "--device", "cpu"])
