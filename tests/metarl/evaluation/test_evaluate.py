"""`evaluate_run`, as a Python user calls it."""

from __future__ import annotations

import json

import pytest

import metarl
from envs.errors import InputError
from metarl.evaluation.evaluate import EvaluationConfig, check_evaluation_output, evaluate_run
from metarl.training.run import Run


def test_it_is_what_the_script_writes_and_prints_nothing(script, trained, capfd):
    arguments = ("--num-tasks", 6, "--num-envs", 2, "--num-steps", 1, "--split", "ood", "--seed", 3)
    assert script("evaluate", trained, *arguments, "--device", "cpu").status == 0
    fractions: list[float] = []
    config = EvaluationConfig(num_tasks=6, num_envs=2, num_steps=1, split="ood", seed=3)
    result = evaluate_run(Run.open(trained), config, fractions.append)
    written = json.loads((trained / "evaluation-ood.json").read_text())
    assert {**result, "command": written["command"]} == written
    assert fractions[-1] == 1 and capfd.readouterr() == ("", "")


def test_without_references_none_are_played(trained):
    result = metarl.evaluate(metarl.resume_run(trained), EvaluationConfig(num_tasks=3, num_envs=1, references=False))
    assert result["references"] == {} and result["num_tasks"] == len(result["per_task"]) == 3


@pytest.mark.parametrize("field", ["num_tasks", "num_envs"])
def test_a_count_below_one_is_named(trained, field):
    with pytest.raises(InputError, match=f"{field} must be at least 1, not 0"):
        evaluate_run(Run.open(trained), EvaluationConfig(**{field: 0}))


def test_a_run_without_a_checkpoint_is_refused(make_run):
    with pytest.raises(InputError, match=r"holds no checkpoint\.pt"):
        evaluate_run(make_run())


def test_an_evaluation_on_other_tasks_is_kept(tmp_path):
    output = tmp_path / "e.json"
    check_evaluation_output(output, EvaluationConfig(split="ood"))
    output.write_text(json.dumps({"per_task": [], "split": "test"}))
    check_evaluation_output(output, EvaluationConfig())
    with pytest.raises(InputError, match=r"other tasks \(test\)"):
        check_evaluation_output(output, EvaluationConfig(split="ood"))
