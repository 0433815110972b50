"""`evaluate_run`, as a Python user calls it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import envs
import metarl
from envs.errors import InputError
from metarl.evaluation.evaluate import EvaluationConfig, check_evaluation_output, evaluate_run
from metarl.policies.distributions import Categorical, DiagGaussian
from metarl.training.presets import preset
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


@pytest.mark.parametrize("name", ["maml-gridworld", "reptile-point", "metanet-gridworld", "rl2-point"])
def test_the_most_probable_actions_are_played_beside_sampled_ones(name, tmp_path, monkeypatch):
    """Nothing else in the result changes, and what is drawn for adaptation stays sampled."""
    config = replace(preset(name), meta_batch_size=2, num_envs=2, eval_num_envs=2)
    env_config = envs.make_config(config.env, config.env_preset, horizon=5)
    run = Run(tmp_path / "run", name, config, env_config)
    run.create()
    run.save()
    modes = []
    for kind in (Categorical, DiagGaussian):
        monkeypatch.setattr(kind, "mode", lambda self, mode=kind.mode: modes.append(1) or mode(self))
    plain, both = (
        evaluate_run(run, EvaluationConfig(num_tasks=3, num_envs=2, greedy=greedy, seed=1)) for greedy in (False, True)
    )
    greedy = both.pop("greedy")
    assert both == plain
    trial = name.startswith(("metanet", "rl2"))
    assert len(modes) == (5 * run.algorithm.stages().episodes if trial else 5)
    assert greedy.keys() == next(iter(plain["references"].values())).keys()


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
