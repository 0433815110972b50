"""Policies with a memory beside methods that adapt by gradient steps: numbers, tables and the figure."""

from __future__ import annotations

import json

import numpy as np
import pytest
from comparisons import STEPS, TRIAL, compared, comparison

from envs.errors import InputError
from metarl.study.runs import read_run
from metarl.study.sheets import overview

# --- Numbers -----------------------------------------------------------------------------------------------------


def test_the_episodes_before_each_stage(write_run, maml):
    assert read_run(maml).episodes_before == [0, 4, 8]
    refined = read_run(write_run("metanet-point", scores=np.zeros((2, 5)), num_episodes=3))
    assert refined.episodes_before == [0, 1, 2, 2, 2]
    assert refined.stage_names == ["episode 1", "episode 2", "episode 3", "refined 1×", "refined 2×"]
    whole = read_run(write_run("rl2-point", scores=[[1.0], [2.0]], num_episodes=1))
    assert (whole.stage_names, whole.episodes_before) == (["whole trial"], [0])
    assert read_run(write_run("ppo-point", scores=[[1.0], [2.0]])).stage_names == ["0 steps"]


def test_the_return_of_a_trial(write_run, metanet):
    """By hand over two seeds; a single seed has what its evaluation says. Stages after batches make no trial."""
    second = write_run("metanet-point", 1, scores=[[0.0, 0.0, 0.0], [0.0, 0.0, 4.0]], num_episodes=3)
    alone = write_run("rl2-point", scores=TRIAL, num_episodes=3, name="alone")
    batches = write_run(scores=STEPS)
    trials = {m["method"]: m["trials"] for m in compared(metanet, second, alone, batches)["methods"]}
    own = trials["metanet"]["3"]  # 10, 16, 0 and 4
    assert (own["mean"], own["iqm"], own["mean_ci95"]) == (7.5, 7.0, [2.0, 13.0])
    evaluation = json.loads((alone / "evaluation-test.json").read_text())["trial"]
    assert {key: trials["rl2"]["3"][key] for key in own} == {key: evaluation[key] for key in own}
    assert trials["rl2"]["3"]["improvement"] == 0.75  # 10 = 10, 10 > 0, 16 = 16, 16 > 4
    assert trials["maml"] == {}


def test_adapting_after_every_episode_makes_a_trial(write_run):
    metanet = write_run("metanet-point", scores=TRIAL, num_episodes=3, num_envs=1)
    result = compared(write_run(scores=STEPS, num_envs=1), metanet)
    first, second = (m["trials"]["3"] for m in result["methods"])
    assert (first["mean"], second["mean"], second["improvement"]) == (10.0, 13.0, 1.0)
    short = compared(write_run("promp-point", scores=[[0.0, 1.0]] * 2, num_envs=1), metanet)
    assert short["methods"][0]["trials"] == {}


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


def test_methods_of_one_preset_are_told_apart_by_what_differs(write_run):
    result = compared(write_run(), write_run(inner_lr=0.5, name="b"), write_run("promp-point", name="c"))
    assert [m["name"] for m in result["methods"]] == [
        "maml-point, inner_lr 0.1",
        "maml-point, inner_lr 0.5",
        "promp-point",
    ]


# --- Refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"horizon": 9}, "horizon is 5 there and 9 here"),
        ({"split": "ood"}, "split is test there and ood here"),
        ({"scores": [[0.0, 1.0]]}, "number of evaluation tasks is 2 there and 1 here"),
        ({"seed": 3, "name": "x", "num_envs": 9}, "4 episodes per task and step there and 9 here"),
        ({"name": "x", "inner_lr": 0.1}, "the same seed 0; name one of them"),
        ({"seed": 3, "iteration": 2}, "after 3 and 2 meta-iterations"),
        ({"seed": 3, "scores": [[0.0], [1.0]]}, "after 1 and 0 adaptation steps"),
    ],
)
def test_runs_that_do_not_match_are_refused_by_name(write_run, sentence, other, said):
    first = write_run()
    second = write_run(**{"name": "other", **other})
    with pytest.raises(InputError) as error:
        compared(first, second)
    assert said in sentence(error)
    assert str(first) in str(error.value) and str(second) in str(error.value)


def test_another_seed_of_the_tasks_is_refused(write_run, sentence):
    first, second = write_run(), write_run(seed=1)
    evaluation = json.loads((second / "evaluation-test.json").read_text())
    (second / "evaluation-test.json").write_text(json.dumps({**evaluation, "seed": 4}))
    with pytest.raises(InputError) as error:
        compared(first, second)
    assert "seed of the evaluation tasks is 0 there and 4 here" in sentence(error)


def test_other_tasks_of_the_same_seed_are_refused(write_run, sentence):
    """As another device draws them. Older evaluations do not say which tasks they were."""
    paths = [write_run(seed=seed, tasks=tasks) for seed, tasks in enumerate(("a", "b"))]
    old = write_run(seed=2)
    compared(paths[0], old)
    with pytest.raises(InputError) as error:
        compared(*paths)
    assert "evaluated on other tasks, drawn on another device or from a file that changed" in sentence(error.value)


def test_presets_of_two_families_on_one_environment_keep_their_names(write_run):
    results = [comparison(write_run(), write_run("maml-gridworld"))]
    assert set(overview(results)) == {"maml-point", "maml-gridworld", "random"}


def test_a_damaged_evaluation_is_said(write_run, sentence):
    path = write_run()
    file = path / "evaluation-test.json"
    whole = json.loads(file.read_text())
    for text in (
        "{", "[]", json.dumps({**whole, "per_task": [[0.0, 1.0]]}), json.dumps({**whole, "adaptation": {}}),
        json.dumps({**whole, "per_task": [[0.0, float("nan")]] * 2}),
        json.dumps({**whole, "num_envs": "4"}), json.dumps({**whole, "references": {"random": {"mean": None}}}),
        json.dumps({**whole, "adaptation": {**whole["adaptation"], "iqm_ci95": [[0.0, 1.0]]}}),
        json.dumps({**whole, "stages": {"num_steps": 1}}),
    ):  # fmt: skip
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
    assert "evaluate again" in sentence(error) and f"scripts/evaluate.py {path}" in sentence(error)
