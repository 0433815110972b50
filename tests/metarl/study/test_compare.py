"""Comparison: aggregation over runs and tasks, which runs may be compared, and the figure."""

from __future__ import annotations

import json

import numpy as np
import pytest
from comparisons import TRIAL, compared, comparison, several
from scipy.stats import norm

from metarl.study.compare import probability_of_improvement
from metarl.study.plots import plot_comparisons
from metarl.study.runs import read_run
from metarl.study.sheets import overview

# --- Numbers -----------------------------------------------------------------------------------------------------


def test_a_method_by_hand(write_run):
    """Eight scores after each step, of which the middle four count."""
    first = write_run(seed=7, scores=[[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0]])
    second = write_run(seed=2, scores=[[4.0, 3.0], [5.0, 3.0], [6.0, 3.0], [-99.0, 3.0]])
    result = compared(first, second)
    (method,) = result["methods"]
    assert method["iqm"] == [(1 + 2 + 3 + 4) / 4, 2.0]
    assert method["mean"] == [(6 - 84) / 8, 2.0]
    half = 12.7062 * (3 - 1) / 2  # Student's t with one degree of freedom; the tasks differ by nothing but that
    np.testing.assert_allclose(method["mean_ci95"][1], [2 - half, 2 + half], rtol=1e-4)
    assert method["iqm_ci95"][1][0] < 2 - half  # of two seeds that have no score in common, the middle half says little
    assert (method["seeds"], method["env_steps"], method["train_seconds"]) == ([2, 7], 600, 6.5)
    assert (method["name"], method["intervals"]) == ("maml-point", "over seeds and tasks")
    assert result["references"]["random"]["mean"] == result["references"]["random"]["iqm"] == -4.0
    assert (result["env"], result["num_tasks"]) == ("point/finn2017", 4)
    assert method["stages"] == {"num_steps": 1, "num_episodes": 0} and method["stage_names"] == ["0 steps", "1 step"]
    assert json.loads(json.dumps(result)) == result


def test_a_single_seed_has_the_intervals_of_its_evaluation_and_says_so(write_run):
    path = write_run(scores=np.random.default_rng(0).normal(size=(30, 3)))
    result = compared(path)
    own = read_run(path).evaluation["adaptation"]
    (method,) = result["methods"]
    assert all(method[key] == own[key] for key in ("mean", "mean_ci95", "iqm", "iqm_ci95", "std"))
    assert method["intervals"] == "over tasks" and "improvement" not in method
    assert "One seed only (MAML)" in result["notes"][0]


def test_the_order_of_runs_changes_nothing_but_the_order_of_methods(write_run):
    rng = np.random.default_rng(1)
    a = [write_run("maml-point", k, rng.normal(size=(9, 2))) for k in range(3)]
    b = [write_run("promp-point", k, rng.normal(size=(9, 2))) for k in range(3)]
    result = compared(*a, *b)
    assert compared(a[2], b[1], a[0], b[0], b[2], a[1]) == result
    turned = compared(b[2], *a, *b[:2])
    assert [m["name"] for m in turned["methods"]] == ["promp-point", "maml-point"]
    for one, other in zip(result["methods"], turned["methods"][::-1], strict=True):
        assert all(one[key] == other[key] for key in ("iqm", "iqm_ci95", "mean_ci95", "seeds"))
    better = result["methods"][1]["improvement"]
    np.testing.assert_allclose(np.add(better, turned["methods"][1]["improvement"]), 1.0)


def test_methods_with_fewer_steps_are_measured_on_those_they_have(write_run):
    result = compared(write_run(), write_run("promp-point", scores=[[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]))
    assert len(result["methods"][1]["iqm"]) == 3
    assert result["methods"][1]["improvement"] == [0.5, 0.5, None]


def test_a_run_that_was_evaluated_early_is_named(write_run):
    assert any(
        "was evaluated after 2 of its 3 meta-iterations" in note for note in compared(write_run(iteration=2))["notes"]
    )


def test_the_overview_has_every_method_on_every_environment(write_run):
    results = several(write_run)
    assert [result.env for result in results] == ["point/finn2017", "gridworld/finn2017"]
    rows = overview(results)
    values = {name: [entry and entry[1].iqm for entry in row] for name, row in rows.items()}
    assert values == {"maml": [2.0, 8.0], "reptile": [None, 6.0], "random": [-4.0, -4.0]}
    stage, estimate = rows["maml"][1]
    assert (stage, estimate.iqm, *estimate.iqm_ci95) == ("2 steps", 8.0, 8.0, 8.0)


def test_last_stages_are_compared_and_stages_of_other_units_are_not(maml, metanet):
    result = compared(maml, metanet)
    method = result["methods"][1]
    assert method["improvement"] == [None, None, None]
    assert method["last_improvement"] == 0.5  # 5 < 6 and 9 > 8
    assert method["stages"] == {"num_steps": 0, "num_episodes": 3}
    assert json.loads(json.dumps(result)) == result


def test_references_begin_without_knowledge_and_learn_in_a_trial(maml, metanet):
    """Made up: -4 in the first episode, one more in each of the next."""
    alone, both = compared(metanet)["references"]["random"], compared(maml, metanet)["references"]["random"]
    assert alone["mean"] == -3.0 and both["mean"] == both["iqm"] == -4.0
    for reference in (alone, both):
        assert reference["curve"]["mean"] == reference["curve"]["iqm"] == [-4.0, -3.0, -2.0]
        assert reference["curve"]["episodes_before"] == [0, 1, 2]
        assert reference["trials"]["3"]["mean"] == -9.0


def test_references_that_only_the_trials_were_evaluated_with_are_shown(maml, metanet, tmp_path):
    file = maml / "evaluation-test.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "references": {}}))
    result = comparison(maml, metanet)
    expected = json.loads((metanet / file.name).read_text())["references"]["random"]["mean"]
    assert result.references["random"].episode.mean == expected
    assert plot_comparisons([result], tmp_path / "c.png").is_file()


def test_unequal_budgets_and_unequal_averages_are_noted(write_run, maml, metanet):
    assert not any("budget" in note or "A score" in note for note in compared(maml, metanet)["notes"])
    near, far = (write_run("rl2-point", scores=TRIAL, num_episodes=3, env_steps=n, name=str(n)) for n in (660, 661))
    assert not any("budget" in note for note in compared(maml, near)["notes"])
    assert (
        "Unequal budgets on point/finn2017: from 600 environment steps of training (MAML) to 661 (RL²)."
        in compared(maml, far)["notes"]
    )
    one = write_run("rl2-point", scores=TRIAL, num_episodes=3, num_envs=1, name="one")
    assert any("1 of RL², 4 of MAML." in note for note in compared(maml, one)["notes"])


def test_the_probability_of_improvement_by_hand():
    x, y = np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[2.0, 5.0], [0.0, 9.0]])
    # task 0: 1 > 0, 3 > 2, 3 > 0 of four pairs; task 1: two ties of four
    value, (low, high) = probability_of_improvement(x, y)
    assert value == (3 / 4 + 1 / 4) / 2
    assert 0 <= low < value < high <= 1
    assert probability_of_improvement(x + 100, y) == (1.0, [1.0, 1.0])
    value, (low, high) = probability_of_improvement(np.array([[1.0, 1.0, 1.0]]), np.array([[0.0, 0.0, 2.0]] * 2))
    assert value == pytest.approx(2 / 3) and (low, high) == (0.0, 1.0)  # a single run: tasks are drawn


def test_the_interval_of_a_probability_of_improvement_covers_it():
    """In 1,500 studies of two methods; the second one's seeds are unequal."""
    rng = np.random.default_rng(0)
    task, hits = rng.normal(size=(1500, 20)), 0
    for own in task:
        x = 0.5 + 0.5 * rng.normal(size=(5, 1)) + own + rng.normal(size=(5, 20))
        y = rng.normal(size=(3, 1)) + own + rng.normal(size=(3, 20))
        _, (low, high) = probability_of_improvement(x, y)
        hits += low <= norm.cdf(0.5 / np.sqrt(0.5**2 + 1 + 2)) <= high
    assert 0.93 <= hits / len(task) <= 0.985
