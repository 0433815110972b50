"""Run folders that are read: what an evaluation says, and what is said of a damaged one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from envs.errors import InputError
from metarl.study.runs import read_run


def test_the_episodes_before_each_stage(write_run, maml):
    assert read_run(maml).episodes_before == [0, 4, 8]
    trial = read_run(write_run("metanet-point", scores=np.zeros((2, 3)), num_episodes=3))
    assert trial.episodes_before == [0, 1, 2]
    assert trial.stage_names == ["episode 1", "episode 2", "episode 3"]
    whole = read_run(write_run("rl2-point", scores=[[1.0], [2.0]], num_episodes=1))
    assert (whole.stage_names, whole.episodes_before) == (["whole trial"], [0])
    assert read_run(write_run("ppo-point", scores=[[1.0], [2.0]])).stage_names == ["0 steps"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: e["stages"].pop("num_episodes"), "the field 'num_episodes' is missing"),
        (lambda e: e["stages"].update(num_episodes=7), "per_task is not 2 x 7 finite numbers"),
        (lambda e: e["references"]["random"].pop("trial"), "the field 'trial' is missing"),
        (lambda e: e["references"]["random"]["trial"]["curve"].update(mean=[1.0]), "mean is not 3 finite numbers"),
    ],
)
def test_a_damaged_evaluation_of_trials_is_said(metanet, sentence, change, said):
    file = metanet / "evaluation-test.json"
    evaluation = json.loads(file.read_text())
    change(evaluation)
    file.write_text(json.dumps(evaluation))
    with pytest.raises(InputError) as error:
        read_run(metanet)
    assert said in sentence(error)


# --- Refusals ----------------------------------------------------------------------------------------------------


def test_a_damaged_evaluation_is_said(write_run, sentence):
    path = write_run()
    file = path / "evaluation-test.json"
    whole = json.loads(file.read_text())
    for text in (
        "{",
        "[]",
        json.dumps({**whole, "per_task": [[0.0, 1.0]]}),
        json.dumps({**whole, "adaptation": {}}),
        json.dumps({**whole, "per_task": [[0.0, float("nan")]] * 2}),
        json.dumps({**whole, "num_envs": "4"}),
        json.dumps({**whole, "references": {"random": {"mean": None}}}),
        json.dumps({**whole, "adaptation": {**whole["adaptation"], "iqm_ci95": [[0.0, 1.0]]}}),
        json.dumps({**whole, "stages": {"num_steps": 1}}),
    ):
        file.write_text(text)
        with pytest.raises(InputError) as error:
            read_run(path)
        assert f"{file} or the config.json beside it is damaged" in sentence(error)


def test_an_evaluation_of_an_earlier_version_is_to_be_done_again(write_run, sentence):
    path = write_run()
    file = path / "evaluation-test.json"
    e = json.loads(file.read_text())
    del e["stages"]
    file.write_text(json.dumps({**e, "adaptation": {**e["adaptation"], "unit": "gradient steps"}}))
    with pytest.raises(InputError) as error:
        read_run(path)
    assert "evaluate again" in sentence(error) and f"metarl evaluate {path}" in sentence(error)
