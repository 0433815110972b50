"""Every script takes every method, with continuous and with discrete actions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from metarl.diagnosis.diagnose import NUM_FINDINGS
from metarl.training.presets import METHODS
from metarl.training.suites import SUITES

REMEMBER = {"metanet", "meta-networks", "rl2", "varibad", "dpt", "pearl"}
SIZES = ["--meta-batch-size", 2, "--num-envs", 2, "--env.horizon", 4]


CASES = [
    (method, family) for method in METHODS for family in ("point", "gridworld") if METHODS[method].suits(SUITES[family])
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def evaluated(script, runs, monkeypatch):
    """`evaluated(method, family)` is the folder of its run, which the first test that asks trains and evaluates."""
    monkeypatch.chdir(runs)

    def run(method: str, family: str) -> Path:
        path = runs / f"{method}-{family}"
        if not path.exists():
            iterations = int(method != "sb3-ppo-scratch")
            fewer = ["--num-updates", 2] if method == "pearl" else []
            for name, *arguments in (
                ("train", path.name, "--run-dir", path, "--num-iterations", iterations, *SIZES, *fewer),
                ("evaluate", path, "--num-tasks", 2, "--num-envs", 2, *steps(method)),
            ):
                result = script(name, *arguments)
                assert (result.status, result.err) == (0, ""), name
        return path

    return run


def steps(method: str) -> list:
    return [] if method in REMEMBER else ["--num-steps", 1]


@pytest.mark.parametrize(("method", "family"), CASES)
def test_it_is_trained_evaluated_diagnosed_and_recorded(script, evaluated, method, family):
    run = evaluated(method, family)
    for name, *arguments in (
        ("diagnose", run, "--num-tasks", 8, "--num-envs", 2),
        ("record", run, "--num-tasks", 1, "--output", run / "video.gif"),
    ):
        result = script(name, *arguments, *steps(method))
        assert (result.status, result.err) == (0, ""), name
    evaluation, diagnosis = (json.loads((run / f).read_text()) for f in ("evaluation-test.json", "diagnosis.json"))
    assert np.isfinite(evaluation["per_task"]).all() and len(evaluation["per_task"]) == 2
    verdicts = {finding["name"]: finding["verdict"] for finding in diagnosis["findings"]}
    assert len(verdicts) == NUM_FINDINGS
    assert ("belief" in verdicts) == (method in ("varibad", "pearl"))
    assert (verdicts["exploration"] == "does not apply") == method.startswith("sb3")
    assert (run / "video.gif").read_bytes().startswith(b"GIF8")


@pytest.mark.parametrize("family", ["point", "gridworld"])
def test_all_are_compared(script, evaluated, runs, family):
    methods = [method for method, of in CASES if of == family]
    result = script("compare", *(evaluated(method, family) for method in methods))
    assert (result.status, result.err) == (0, "")
    assert len(json.loads((runs / "compare.json").read_text())["methods"]) == len(methods)
