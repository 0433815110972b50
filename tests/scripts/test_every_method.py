"""Every script takes every method, with continuous and with discrete actions."""

from __future__ import annotations

import json

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


@pytest.mark.parametrize(("method", "family"), CASES)
def test_it_is_trained_evaluated_diagnosed_recorded_and_compared(script, tmp_path, monkeypatch, method, family):
    monkeypatch.chdir(tmp_path)
    iterations, steps = int(method != "sb3-ppo-scratch"), [] if method in REMEMBER else ["--num-steps", 1]
    fewer = ["--num-updates", 2] if method == "pearl" else []
    for name, *arguments in (
        ("train", f"{method}-{family}", "--run-dir", "run", "--num-iterations", iterations, *SIZES, *fewer),
        ("evaluate", "run", "--num-tasks", 2, "--num-envs", 2, *steps),
        ("diagnose", "run", "--num-tasks", 8, "--num-envs", 2, *steps),
        ("record", "run", "--num-tasks", 1, "--output", "run/video.gif", *steps),
        ("compare", "run"),
    ):
        result = script(name, *arguments)
        assert (result.status, result.err) == (0, ""), name
    evaluation, diagnosis, comparison = (
        json.loads((tmp_path / file).read_text())
        for file in ("run/evaluation-test.json", "run/diagnosis.json", "compare.json")
    )
    assert np.isfinite(evaluation["per_task"]).all() and len(evaluation["per_task"]) == 2
    verdicts = {finding["name"]: finding["verdict"] for finding in diagnosis["findings"]}
    assert len(verdicts) == NUM_FINDINGS
    assert ("belief" in verdicts) == (method in ("varibad", "pearl"))
    assert (verdicts["exploration"] == "does not apply") == method.startswith("sb3")
    assert (tmp_path / "run/video.gif").read_bytes().startswith(b"GIF8")
    assert len(comparison["methods"]) == 1
