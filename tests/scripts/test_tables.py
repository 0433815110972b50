"""Tables of every script, on narrow terminals and in a pipe: nothing is cut, and all figures are there."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from printed_tables import check

from metarl.training.loop import train


@pytest.fixture
def compared(make_run, script):
    """Folders of two evaluated runs with long names."""
    paths = []
    for inner_lr in (0.1, 0.02):
        run = make_run(f"lr{inner_lr}", inner_lr=inner_lr, num_iterations=1)
        train(run, quiet=True)
        assert script("evaluate", run.path, "--num-tasks", 6, "--num-steps", 3).status == 0
        paths.append(run.path)
    return paths


def test_compare_and_evaluate(script, compared, width, tmp_path):
    text = script("evaluate", compared[0], "--num-tasks", 6).out
    check(text, width, ["after 0 steps", "straight line"], ["95 % of mean", "IQM", "95 % of IQM", "std"])
    text = script("compare", *compared, "--output", tmp_path / "c.md").out
    (tables, _) = text.split("IQM: interquartile")
    names = ["MAML, inner_lr 0.1", "MAML, inner_lr 0.02", "straight line"]
    numbers = [
        f"{x:.2f}".replace("-", "−")
        for m in json.loads((tmp_path / "c.json").read_text())["methods"]
        for key in ("iqm", "mean")
        for x in m[key]
    ]
    check(tables, width, ["method", *names], ["env steps", "train s", "0 steps", "3 steps", *numbers])


def test_benchmark(script, width, monkeypatch):
    figures = {
        "sampling_seconds": 0.123,
        "optimization_seconds": 1.456,
        "total_seconds": 1.579,
        "env_steps_per_second": 1_234_567.0,
        "share_of_plain_c": 0.85,
        "peak_memory_mb": 1240.0,
        "work_seconds": 1.0,
        "work_flops": 0.5,
        "work_bytes": 0.25,
    }

    def apply(function, arguments):
        limits = SimpleNamespace(flops=1.0, bytes=1.0)
        return limits if function.__name__ == "machine_limits" else {"name": arguments[0], **figures}

    class Pool:
        def __init__(self, count):
            self.apply = apply

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setattr("multiprocessing.get_context", lambda kind: SimpleNamespace(Pool=Pool))
    result = script("benchmark", "maml-half-cheetah-vel", "point@64", "--device", "cpu")
    assert result.status == 0
    headers = ["sample s", "optim. s", "total s", "steps/s", "of C loop", "of FLOP/s", "of bytes/s", "peak MB"]
    numbers = ["0.123", "1.456", "1.579", "1,234,567", "0.85", "0.50", "0.25", "1,240"]
    check(result.out, width, ["case", "maml-half-cheetah-vel", "point@64"], [*headers, *numbers])


def test_list_envs(script, width):
    text = script("list_envs", "--family", "point").out
    check(text, min(width, 10**6), ["presets (steps)", "goal_tolerance", "observation"], ["meaning", "value", "0.01"])


def test_diagnose(script, trained, width):
    result = script("diagnose", trained, "--num-tasks", 16)
    assert result.status == 0
    found = json.loads((trained / "diagnosis.json").read_text())["findings"]
    sentences = [finding["sentence"] for finding in found] if width > 100 else []
    check(result.out, width, [finding["name"] for finding in found], sentences)
