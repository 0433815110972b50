"""Evaluation under other options of the environment than a run was trained with."""

from __future__ import annotations

import json

import pytest

from envs import InputError, make
from metarl.cli.evaluate import check_same_spaces, env_options

SMALL = ["--num-tasks", "3", "--num-envs", "2", "--num-steps", "1", "--num-threads", "1", "--device", "cpu"]


def test_other_options_are_played_and_told(script, trained, sentence):
    result = script("evaluate", trained, *SMALL, "--env.horizon", "9", "--env.goal-tolerance=0")
    assert result.status == 0, result.err
    file = trained / "evaluation-test-goal_tolerance-0.0-horizon-9.json"
    evaluation = json.loads(file.read_text())
    assert evaluation["env_options"] == {"horizon": 9, "goal_tolerance": 0.0}
    assert json.loads((trained / "config.json").read_text())["env"]["config"]["horizon"] == 5
    result = script("evaluate", trained, *SMALL, "--env.horizon", "7", "--output", file)
    assert result.status == 2 and "other options of the environment" in sentence(result.err)


def test_a_policy_that_comes_with_the_package_is_evaluated_by_its_name(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = script("evaluate", "rl2-bandit", "--num-tasks", "20", "--num-threads", "1", "--device", "cpu")
    assert result.status == 0, result.err
    assert json.loads((tmp_path / "runs/rl2-bandit-evaluation-test.json").read_text())["num_tasks"] == 20


def test_an_option_that_the_family_lacks_is_refused(script, trained):
    assert script("evaluate", trained, *SMALL, "--env.wind", "3").status == 2


def test_options_of_the_environment_are_told_apart():
    line = ["run", "--env.a", "1", "-2", "--seed", "3", "--env.b=4"]
    assert env_options(line) == (["run", "--seed", "3"], ["--a", "1", "-2", "--b=4"])


def test_spaces_must_stay(sentence):
    check_same_spaces(make("point", horizon=3), make("point"))
    with pytest.raises(InputError) as error:
        check_same_spaces(make("bernoulli-bandit"), make("point"))
    assert "observation_space" in sentence(error)
