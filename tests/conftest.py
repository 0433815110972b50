"""Settings for all tests: one thread, and hypothesis without deadlines or chance. Small runs, and the scripts."""

from __future__ import annotations

import gc
import os
import runpy
import shutil
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import pytest
import torch
from hypothesis import settings
from printed_tables import WIDTHS

import envs
import metarl.backend.starting  # noqa: F401  so that no script does it later
from envs import InputError
from metarl.algorithms.maml import MAMLConfig
from metarl.backend.signals import raised
from metarl.policies.mlp import MLPConfig
from metarl.training.config import TrainConfig
from metarl.training.loop import train
from metarl.training.run import Run

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it, and tests send it
with raised():
    pass  # and Python's own handlers are back: `metarl.backend.starting` is for scripts
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # of a job in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("repeatable")


gc.disable()  # while tests are collected: it would take as long as all the rest of that


def pytest_collection_finish(session):
    """Garbage is looked for from here on, but not in what modules hold, and seldom."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Where there is no OpenGL, tests that draw a robot are skipped with the sentence that says what to install."""
    try:
        return (yield)
    except InputError as error:
        if "need OpenGL" in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture
def arena(monkeypatch):
    """A family of one's own, with continuous actions."""
    monkeypatch.setattr(envs.registry, "FAMILIES", families := {**envs.FAMILIES})
    monkeypatch.setattr(envs, "FAMILIES", families)
    envs.register("arena", type("Arena", (envs.point.Point,), {}), {"wide": envs.point.PointConfig(goal_scale=1.0)})
    yield "arena"
    del gymnasium.registry["metarl/Arena-v0"]


SCRIPTS, EXPERIMENTS = (Path(__file__).parents[1] / folder for folder in ("scripts", "experiments"))


def tiny_run(
    path: Path, horizon: int = 5, hidden_sizes: tuple[int, ...] = (4,), inner_lr=0.1, algorithm=None, **fields
) -> Run:
    """A run on Point whose iteration takes milliseconds, in a folder of its own."""
    sizes = {"num_iterations": 6, "meta_batch_size": 2, "num_envs": 3, "eval_num_envs": 4}
    policy, algorithm = MLPConfig(hidden_sizes), algorithm or MAMLConfig(inner_lr=inner_lr)
    config = TrainConfig(policy=policy, algorithm=algorithm, **{**sizes, **fields})
    run = Run(path, "maml-point", config, envs.make_config("point", horizon=horizon))
    run.create()
    return run


@pytest.fixture
def make_run(tmp_path):
    """`tiny_run` in a subfolder of `tmp_path`."""
    return lambda name="run", **fields: tiny_run(tmp_path / name, **fields)


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "run"
    train(tiny_run(path, num_iterations=3), quiet=True)
    return path


@pytest.fixture
def trained(trained_once, tmp_path) -> Path:
    """The folder of a run after its 3 iterations; a copy for this test alone."""
    return Path(shutil.copytree(trained_once, tmp_path / "trained"))


@pytest.fixture
def script(monkeypatch, capfd):
    """`script("train", "maml-point", ...)` runs a script in this process as its command line would.

    Returns its exit `status`, and what it printed to `out` and `err`.
    """
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)

    def run(name: str, *arguments: object) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            folder = next(folder for folder in (SCRIPTS, EXPERIMENTS) if (folder / f"{name}.py").exists())
            runpy.run_path(str(folder / f"{name}.py"), run_name="__main__")
        printed = capfd.readouterr()
        return SimpleNamespace(status=end.value.code, out=printed.out, err=printed.err)

    return run


@pytest.fixture
def files():
    """`files(folder)`: the names below a folder, and what the files hold, without those that a pattern names."""
    return lambda folder, without="": {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if not (without and path.match(without))
    }


@pytest.fixture
def sentence():
    """Checks that an error or a message is one line that ends with a full stop; returns it."""

    def check(error: object) -> str:
        text = str(getattr(error, "value", error)).strip()
        assert "\n" not in text
        assert text.endswith(".")
        return text

    return check


@pytest.fixture(params=WIDTHS, ids=["40", "80", "pipe"])
def width(request, monkeypatch):
    """The widest line that fits."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if request.param:
        monkeypatch.setenv("COLUMNS", request.param)
    return int(request.param or 10**6)
