"""The command `metarl benchmark`; its cases themselves are too slow to be run here."""

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

from envs.errors import InputError
from metarl.cli.benchmark import command, limits


def test_shares_stand_beside_a_figure(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(command, "in_fresh_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(command, "machine_limits", lambda session: limits.limits("cpu", size=256, length=2**16))
    out = tmp_path / "out.json"
    command.main(["point@64", "reptile-bandit", "--repeats=1", f"--output={out}", "--device=cpu", "--num-threads=1"])
    printed = capfd.readouterr().out
    assert "of bytes/s" in printed and "GFLOP/s" in printed
    report = json.loads(out.read_text())
    most = report["limits_per_second"]
    for result in report["results"]:
        share = result["work_bytes"] / result["work_seconds"] / most["bytes"]
        assert result["share_of_bytes"] == pytest.approx(share) and share > 0
    assert report["results"][1]["share_of_flops"] > 0 and report["results"][1]["total_seconds"] > 0


def test_a_case_has_a_process_of_its_own():
    assert command.in_fresh_process(os.getpid) != os.getpid()


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
def test_neighbours_end_with_the_case_whatever_happens():
    with pytest.raises(ZeroDivisionError), command.busy_processes(2) as busy:
        assert len(busy) == 2 and all(alive(process.pid) for process in busy)
        raise ZeroDivisionError
    assert not any(alive(process.pid) for process in busy)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_neighbours_end_when_the_benchmark_is_killed():
    source = inspect.getsource(command.busy_processes)
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


def test_cases_run_beside_the_neighbours_asked_for(monkeypatch, tmp_path, capfd):
    asked: list[int] = []

    def case(function, *arguments):
        if function is command.machine_limits:
            return limits.Work(1, 1)
        return {"name": arguments[0], "env_steps_per_second": 1.0, "threads": 1}

    monkeypatch.setattr(command, "in_fresh_process", case)
    monkeypatch.setattr(command, "busy_processes", lambda count: asked.append(count) or nullcontext())
    out = tmp_path / "out.json"
    command.main(["point@1", "point@64", "--neighbours", "3", "--output", str(out), "--device", "cpu"])
    assert asked == [3, 3] and json.loads(out.read_text())["neighbours"] == 3
    assert "3 busy processes" in " ".join(capfd.readouterr().out.split())
    for wrong in ("-1", "1000000000"):
        with pytest.raises(InputError, match="neighbours must be from 0 to"):
            command.main(["point@1", "--neighbours", wrong, "--device", "cpu"])
