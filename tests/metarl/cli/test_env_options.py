"""--env.FIELD of the verbs that play a trained run."""

from __future__ import annotations

import json

import pytest

from metarl.cli.env_options import file_name, split

SMALL = ["--num-steps", "1", "--num-threads", "1", "--device", "cpu"]
OPTIONS = ["--env.horizon", "9", "--env.goal-tolerance=0"]
TOLD = "goal_tolerance-0.0-horizon-9"


def test_options_of_the_environment_are_told_apart():
    line = ["run", "--env.a", "1", "-2", "--seed", "3", "--env.b=4"]
    assert split(line) == (["run", "--seed", "3"], ["--a", "1", "-2", "--b=4"])


def test_files_are_named_by_them():
    assert file_name("evaluation-test", {"horizon": 9}) == "evaluation-test-horizon-9"
    assert file_name("diagnosis", {}) == "diagnosis"


def test_an_evaluation_plays_and_tells_them(script, trained, sentence):
    small = [*SMALL, "--num-tasks", "3", "--num-envs", "2"]
    assert script("evaluate", trained, *small, *OPTIONS).status == 0
    file = trained / f"evaluation-test-{TOLD}.json"
    evaluation = json.loads(file.read_text())
    assert evaluation["env_options"] == {"horizon": 9, "goal_tolerance": 0.0} and "horizon 9" in evaluation["env"]
    assert json.loads((trained / "config.json").read_text())["env"]["config"]["horizon"] == 5
    result = script("evaluate", trained, *small, "--env.horizon", "7", "--output", file)
    assert result.status == 2 and "other options of the environment" in sentence(result.err)


def test_a_diagnosis_plays_and_tells_them(script, trained):
    assert script("diagnose", trained, *SMALL, "--num-tasks", 8, "--num-envs", 2, *OPTIONS).status == 0
    assert "horizon 9" in json.loads((trained / f"diagnosis-{TOLD}.json").read_text())["env"]


def test_a_video_plays_and_tells_them(script, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    played = []
    monkeypatch.setattr("metarl.cli.record.record_run", lambda run, output, *more: played.append(run.env) or output)
    assert script("record", trained, *SMALL, *OPTIONS).status == 0
    assert played[0].horizon == 9


@pytest.mark.parametrize("verb", ["evaluate", "diagnose", "record"])
def test_an_option_that_the_family_lacks_is_refused(verb, script, trained):
    assert script(verb, trained, *SMALL, "--env.wind", "3").status == 2
    assert not list(trained.glob("*wind*"))
