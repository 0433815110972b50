"""scripts/diagnose.py from a run folder to a report."""

from __future__ import annotations

import json
import re

import pytest
from diagnoses import options_of

from metarl.training.config import to_dict
from metarl.training.loop import train


def test_a_report_and_its_file(script, trained):
    result = script("diagnose", trained, "--num-tasks", 8, "--num-envs", 2)
    assert (result.status, result.err) == (0, "")
    found = json.loads((trained / "diagnosis.json").read_text())
    text = " ".join(result.out.split())
    assert text.startswith(found["sentence"]) and text.startswith(("Adaptation ", "Only "))
    assert "on 8 validation tasks of point/finn2017, 2 episodes a task and stage" in text
    assert result.out.endswith(f"Wrote {trained / 'diagnosis.json'}\n")
    for f in found["findings"]:
        assert f["name"] in result.out
        assert f["verdict"] in result.out or f["verdict"] == "does not apply"
    assert "gain after each step" in text and "try: " in text
    assert found["algorithm"] == "MAML" and found["iteration"] == 3


def test_options_choose_what_is_played(script, trained, tmp_path):
    output = tmp_path / "new" / "d.json"
    options = ["--split", "ood", "--seed", 3, "--num-steps", 1, "--num-tasks", 9, "--num-envs", 3]
    assert script("diagnose", trained, *options, "--output", output).status == 0
    found = json.loads(output.read_text())
    assert (found["split"], found["seed"], found["num_tasks"], found["num_envs"]) == ("ood", 3, 9, 3)
    gains = next(f for f in found["findings"] if f["name"] == "adaptation")["numbers"]["gain after each step"]
    assert len(gains) == 1
    assert not (trained / "diagnosis.json").exists()


def test_every_suggestion_is_an_option_of_the_run(script, make_run):
    """The inner learning rate is 0, and the little training leaves more to say."""
    run = make_run(inner_lr=0.0)
    train(run, quiet=True)
    assert script("diagnose", run.path, "--num-tasks", 8).status == 0
    found = json.loads((run.path / "diagnosis.json").read_text())
    suggestions = [f["next"] for f in found["findings"] if f["next"]]
    options = options_of(to_dict(run.config))
    named = {name for text in suggestions if "metarl diagnose" not in text for name in re.findall(r"--[a-z-]+", text)}
    assert "--inner-lr" in named and named <= options


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--num-tasks", 0], "num_tasks must be at least 8, not 0."),
        (["--num-tasks", 7], "num_tasks must be at least 8, not 7."),
        (["--num-envs", -1], "num_envs must be at least 1, not -1."),
        (["--num-steps", 0], "num_steps must be at least 1, not 0."),
        (["--seed", -1], "seed must be at least 0"),
        (["--split", "tests"], "Did you mean 'test'?"),
        (["--output", "x.txt"], "must end in .json"),
        (["--engine", "mujoco"], "leave --engine out"),
    ],
)
def test_wrong_options_end_in_one_sentence(script, trained, files, arguments, words):
    before = files(trained)
    result = script("diagnose", trained, *arguments)
    assert (result.status, result.out) == (2, "")
    assert words in " ".join(result.err.split())
    assert files(trained) == before


def test_what_is_no_trained_run_ends_in_one_sentence(script, make_run, tmp_path, sentence):
    (tmp_path / "empty").mkdir()
    untrained = make_run().path
    for path, words in (
        (tmp_path / "none", "There is no run folder"),
        (tmp_path / "empty", "it holds no config.json"),
        (untrained, "holds no checkpoint.pt"),
    ):
        result = script("diagnose", path)
        assert (result.status, result.out) == (2, "")
        assert words in sentence(result.err)
