"""Methods: which runs are one, which can be compared, and what they are called."""

from __future__ import annotations

import json

import numpy as np
import pytest
from comparisons import STEPS, TRIAL, compared, comparison

from envs.errors import InputError
from metarl.study.sheets import overview


def test_the_return_of_a_trial(write_run, metanet):
    """By hand over two seeds; a single seed has what its evaluation says. Stages after batches make no trial."""
    second = write_run("metanet-point", 1, scores=[[0.0, 0.0, 0.0], [0.0, 0.0, 4.0]], num_episodes=3)
    alone = write_run("rl2-point", scores=TRIAL, num_episodes=3, name="alone")
    batches = write_run(scores=STEPS)
    trials = {m["method"]: m["trials"] for m in compared(metanet, second, alone, batches)["methods"]}
    own = trials["metanet"]["3"]  # 10, 16, 0 and 4
    assert (own["mean"], own["iqm"]) == (7.5, 7.0)
    half = 12.7062 * (11**2 / 4 + 5**2 / 4 - 1 / 4) ** 0.5  # seeds, tasks, and the noise that both hold
    np.testing.assert_allclose(own["mean_ci95"], [7.5 - half, 7.5 + half], rtol=1e-4)
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


def test_methods_of_one_preset_are_told_apart_by_what_differs(write_run):
    result = compared(write_run(), write_run(inner_lr=0.5, name="b"), write_run("promp-point", name="c"))
    assert [m["name"] for m in result["methods"]] == [
        "maml-point, inner_lr 0.1",
        "maml-point, inner_lr 0.5",
        "promp-point",
    ]


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
