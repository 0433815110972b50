"""What is set before torch is loaded, and how many cores other programs use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from envs import threads
from envs.threads import Usage

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("*.py"))

AT_TORCH = """
import os, runpy, sys
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Finder)
"""


def when_torch_is_loaded(code: str, **environ: str) -> str:
    """GOMP_SPINCOUNT at the moment when the code first imports torch."""
    environment = {key: value for key, value in os.environ.items() if key not in threads.OWN_CHOICE}
    command = [sys.executable, "-c", AT_TORCH + code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**environment, **environ})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["envs", "metarl, torch", "metarl.training.loop", "envs.adapters.gym"])
def test_waiting_is_bounded_before_torch_is_loaded(module):
    assert when_torch_is_loaded(f"import {module}") == threads.WAITING["GOMP_SPINCOUNT"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_waiting_is_bounded_in_every_script(name):
    code = f"sys.path.insert(0, 'scripts'); runpy.run_path('scripts/{name}', run_name='__main__')"
    assert when_torch_is_loaded(code) == threads.WAITING["GOMP_SPINCOUNT"]


def test_what_the_user_has_set_wins():
    assert when_torch_is_loaded("import envs", GOMP_SPINCOUNT="7") == "7"
    for name in threads.OWN_CHOICE:
        environ = {name: "7"}
        assert not threads.bound_waiting(environ, loaded=True)
        assert environ == {name: "7"}


def test_it_is_known_when_torch_was_loaded_first():
    late: dict[str, str] = {}
    assert threads.bound_waiting(late, loaded=True)
    assert late == threads.WAITING  # for the processes that this one starts
    assert not threads.bound_waiting({}, loaded=False)


def test_cores_of_others_are_counted_without_our_own():
    before = Usage(time=10.0, busy=100.0, own=5.0, cores=4)
    assert threads.others(before, Usage(12.0, 105.0, 7.0, 4)) == 1.5
    assert threads.others(before, Usage(12.0, 101.0, 7.0, 4)) == 0.0  # clocks of different grain
    assert threads.others(before, Usage(12.0, 500.0, 7.0, 4)) == 4.0
    assert threads.others(before, Usage(10.05, 105.0, 5.0, 4)) == 0.0  # too short to tell
    assert threads.others(None, before) == threads.others(before, None) == 0.0


def test_usage_is_that_of_our_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 10}, raising=False)
    monkeypatch.setattr(os, "getpriority", lambda kind, pid: 0)
    ticks = os.sysconf("SC_CLK_TCK")
    times = "{} 1000 {} 5000 5000 {} {} {} 0 0"  # user nice system idle iowait irq softirq steal guest guest_nice
    ours = times.format(ticks, ticks, 0, ticks, 0), times.format(0, 0, ticks, 0, ticks)
    rows = ["cpu  9 9 9 9 9 9 9 9 0 0", f"cpu0 {ours[0]}", f"cpu1 {times.format(9, 9, 9, 9, 9)}", f"cpu10 {ours[1]}"]
    stat = tmp_path / "stat"
    stat.write_text("\n".join(rows))
    found = threads.usage(stat)
    assert found is not None and (found.busy, found.cores) == (5.0, 2)
    monkeypatch.setattr(os, "getpriority", lambda kind, pid: 10)  # among other background programs
    niced = threads.usage(stat)
    assert niced is not None and niced.busy == 5.0 + 2000 / ticks


def test_without_figures_nothing_is_known(tmp_path, monkeypatch):
    assert threads.usage(tmp_path / "missing") is None
    (tmp_path / "odd").write_text("cpu0 1 2\ncpux 1\n")
    assert threads.usage(tmp_path / "odd") is None
    monkeypatch.setattr(sys, "platform", "darwin")
    assert threads.usage() is None
