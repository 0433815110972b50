"""Is the learned start better than the one that training began with?"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from diagnoses import changed, diagnosis

from metarl.diagnosis.untrained import judge_start
from metarl.training.config import make_algorithm

PROBE = SimpleNamespace(num_tasks=16, run=SimpleNamespace(config=SimpleNamespace(num_iterations=20)))


@pytest.mark.parametrize(
    ("gain", "noise", "verdict"), [(2.0, 0.1, "ok"), (0.4, 1.0, "note"), (0.0, 0.1, "problem"), (-2.0, 0.1, "problem")]
)
def test_the_verdict_is_that_of_the_judged_stage(gain, noise, verdict):
    untrained = torch.linspace(-10, 10, 16, dtype=torch.float64)
    change = gain + noise * torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat(8)
    other = untrained - 5 * gain  # the stage that is not judged says the opposite
    found = judge_start(torch.stack([other, untrained + change]), untrained.expand(2, -1), 1, "after a step", PROBE)
    assert found.verdict == verdict
    assert found.numbers["gain over it"][1].mean == pytest.approx(gain, abs=1e-9)
    assert (found.next is None) == (verdict == "ok")


def test_a_run_whose_parameters_were_put_back_has_not_paid(good, tmp_path):
    start = make_algorithm(good.config, good.env, torch.Generator().manual_seed(good.config.seed))
    run = changed(good, tmp_path / "run")
    run.algorithm.meta.copy_(start.meta)
    found = diagnosis(run, num_tasks=16).findings["meta-training"]
    assert found.verdict == "problem"
    assert [x["mean"] for x in found.numbers["gain over it"]] == [0.0] * 4


def test_it_does_not_apply_before_the_first_meta_iteration(good, tmp_path):
    run = changed(good, tmp_path / "run")
    run.iteration = 0
    assert diagnosis(run, num_tasks=8).findings["meta-training"].verdict == "does not apply"
