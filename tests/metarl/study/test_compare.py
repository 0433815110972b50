"""Comparison: aggregation over runs and tasks, which runs may be compared, and the figure."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from envs.errors import InputError
from metarl.figures.appearance import LOOKS, labels
from metarl.figures.plot import Named, connect_names
from metarl.study.compare import compare, overview
from metarl.study.plots import draw_comparison, plot_comparison, plot_comparisons
from metarl.study.runs import by_environment, group, read_run
from metarl.study.statistics import interval_over_runs, probability_of_improvement


def compared(*paths):
    return compare(group([read_run(path) for path in paths]))


# --- Numbers -----------------------------------------------------------------------------------------------------


def test_a_method_by_hand(write_run):
    """Eight scores after each step, of which the middle four count."""
    first = write_run(seed=7, scores=[[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0]])
    second = write_run(seed=2, scores=[[4.0, 3.0], [5.0, 3.0], [6.0, 3.0], [-99.0, 3.0]])
    result = compared(first, second)
    (method,) = result["methods"]
    assert method["iqm"] == [(1 + 2 + 3 + 4) / 4, 2.0]
    assert method["mean"] == [(6 - 84) / 8, 2.0]
    assert method["ci95"][1] == method["mean_ci95"][1] == [1.0, 3.0]  # drawn: one run, the other, or both
    assert method["mean_ci95"][0] == [-84 / 4, 6 / 4]
    assert method["ci95"][0][0] <= 1.5 and method["ci95"][0][1] == 4.5
    assert (method["seeds"], method["env_steps"], method["train_seconds"]) == ([2, 7], 600, 6.5)
    assert (method["name"], method["resampled"]) == ("maml-point", "runs")
    assert result["references"]["random"]["mean"] == result["references"]["random"]["iqm"] == -4.0
    assert (result["env"], result["num_tasks"], result["unit"]) == ("point/finn2017", 4, "gradient steps")
    assert json.loads(json.dumps(result)) == result


def test_the_interval_shows_what_a_seed_does_to_all_tasks():
    """Drawing each task's runs apart, it would be narrow around 10."""
    scores = np.array([[0.0], [10.0], [20.0]]) + np.zeros(500)
    assert interval_over_runs(scores, np.mean) == [0.0, 20.0]


def test_the_interval_covers_the_mean_of_the_law_as_often_as_a_bootstrap_of_six_can():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(40):
        low, high = interval_over_runs(rng.normal(size=(6, 1)) + 0.3 * rng.normal(size=(6, 8)), np.mean)
        hits += low <= 0 <= high
    assert 30 <= hits <= 39  # a percentile bootstrap of few is somewhat too narrow


def test_a_single_seed_has_the_intervals_of_its_evaluation_and_says_so(write_run):
    path = write_run(scores=np.random.default_rng(0).normal(size=(30, 3)))
    result = compared(path)
    own = read_run(path).evaluation["adaptation"]
    (method,) = result["methods"]
    assert all(method[key] == own[key] for key in ("iqm", "ci95", "mean", "mean_ci95"))
    assert method["resampled"] == "tasks" and "improvement" not in method
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
        assert all(one[key] == other[key] for key in ("iqm", "ci95", "mean_ci95", "seeds"))
    better = result["methods"][1]["improvement"]
    np.testing.assert_allclose(np.add(better, turned["methods"][1]["improvement"]), 1.0)


def test_the_probability_of_improvement_by_hand():
    x, y = np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[2.0, 5.0], [0.0, 9.0]])
    # task 0: 1 > 0, 3 > 2, 3 > 0 of four pairs; task 1: two ties of four
    value, (low, high) = probability_of_improvement(x, y)
    assert value == (3 / 4 + 1 / 4) / 2
    assert 0 <= low < value < high <= 1
    assert probability_of_improvement(x + 100, y) == (1.0, [1.0, 1.0])
    value, (low, high) = probability_of_improvement(np.array([[1.0, 1.0, 1.0]]), np.array([[0.0, 0.0, 2.0]] * 2))
    assert value == pytest.approx(2 / 3) and (low, high) == (0.0, 1.0)  # a single run: tasks are drawn


def test_methods_of_one_preset_are_told_apart_by_what_differs(write_run):
    result = compared(write_run(), write_run(inner_lr=0.5, name="b"), write_run("promp-point", name="c"))
    assert [m["name"] for m in result["methods"]] == [
        "maml-point, inner_lr 0.1",
        "maml-point, inner_lr 0.5",
        "promp-point",
    ]


def test_methods_with_fewer_steps_are_measured_on_those_they_have(write_run):
    result = compared(write_run(), write_run("promp-point", scores=[[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]))
    assert len(result["methods"][1]["iqm"]) == 3
    assert result["methods"][1]["improvement"] == [0.5, 0.5, None]


def test_a_run_that_was_evaluated_early_is_named(write_run):
    assert any(
        "was evaluated after 2 of its 3 meta-iterations" in note for note in compared(write_run(iteration=2))["notes"]
    )


# --- Several environments ----------------------------------------------------------------------------------------


def several(write_run):
    """MAML on two environments, Reptile on the second."""
    runs = [write_run(), write_run("maml-gridworld", env="gridworld", scores=[[0.0, 7.0, 8.0]] * 2)]
    runs += [write_run("reptile-gridworld", env="gridworld", scores=[[0.0, 5.0, 6.0]] * 2)]
    return [compare(group(part)) for part in by_environment([read_run(path) for path in runs])]


def test_the_overview_has_every_method_on_every_environment(write_run):
    results = several(write_run)
    assert [result["env"] for result in results] == ["point/finn2017", "gridworld/finn2017"]
    rows = overview(results)
    values = {name: [entry and entry["value"] for entry in row] for name, row in rows.items()}
    assert values == {"maml": [2.0, 8.0], "reptile": [None, 6.0], "random": [-4.0, -4.0]}
    assert overview(results, 1)["maml"][1] == {"stage": "1 step", "value": 7.0, "ci95": [7.0, 7.0]}


def test_an_overview_after_steps_that_were_not_evaluated_is_refused(write_run, sentence):
    with pytest.raises(InputError) as error:
        overview(several(write_run), 2)
    assert "maml-point was evaluated after 0 to 1 adaptation steps" in sentence(error)


def test_a_method_has_one_colour_in_all_panels(write_run, tmp_path):
    results = several(write_run)
    axes = Figure().subplots(2)
    for one, result in zip(axes, results, strict=True):
        methods = [{**method, "name": method["method"]} for method in result["methods"]]
        draw_comparison(one, {**result, "methods": methods}, ["reptile", "maml"])
    maml, there = (next(line for line in one.lines if line.get_label() == "MAML") for one in axes)
    assert maml.get_color() == there.get_color() == (LOOKS["maml"].colour, 0.6)
    assert maml.get_markerfacecolor() == LOOKS["maml"].colour
    picture = plot_comparisons(results, tmp_path / "several.png")
    with Image.open(picture) as image:
        assert image.width > 2 * image.height


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
    results = [compared(write_run(), write_run("maml-gridworld"))]
    assert set(overview(results)) == {"maml-point", "maml-gridworld", "random"}


def test_a_damaged_evaluation_is_said(write_run, sentence):
    path = write_run()
    file = path / "evaluation-test.json"
    whole = json.loads(file.read_text())
    for text in (
        "{", "[]", json.dumps({**whole, "per_task": [[0.0, 1.0]]}), json.dumps({**whole, "adaptation": {}}),
        json.dumps({**whole, "per_task": [[0.0, float("nan")]] * 2}),
        json.dumps({**whole, "num_envs": "4"}), json.dumps({**whole, "references": {"random": {"mean": None}}}),
        json.dumps({**whole, "adaptation": {**whole["adaptation"], "ci95": [[0.0, 1.0]]}}),
        json.dumps({**whole, "adaptation": {**whole["adaptation"], "unit": "episodes"}}),
    ):  # fmt: skip
        file.write_text(text)
        with pytest.raises(InputError) as error:
            read_run(path)
        assert f"{file} or the config.json beside it is damaged" in sentence(error)


# --- The figure --------------------------------------------------------------------------------------------------


def test_the_lines_are_the_numbers_and_every_method_and_reference_is_named(write_run):
    names = [f"{name}-point" for name in ("maml", "promp", "reptile", "fomaml", "rl2", "snail", "pearl", "varibad")]
    result = compared(*(write_run(name, scores=[[-20.0, -3.0 - k / 50]] * 2) for k, name in enumerate(names)))
    shown = labels(names)
    assert shown["rl2-point"] == "RL²"
    axes = Figure().add_subplot()
    draw_comparison(axes, result)
    lines = {line.get_label(): line for line in axes.lines}
    for method in result["methods"]:
        np.testing.assert_allclose(lines[shown[method["name"]]].get_ydata(), method["iqm"])
    assert len({lines[name].get_markerfacecolor() for name in shown.values()}) == 8
    texts = sorted(axes.texts, key=lambda text: text.get_position()[1])
    assert {text.get_text().rsplit(" ", 1)[0] for text in texts} == {*shown.values(), "random"}
    assert "−" in texts[0].get_text()
    heights = [text.get_position()[1] for text in texts]
    assert np.diff(heights).min() > 0.05 and heights[0] >= 0 and heights[-1] <= 1


def test_a_far_value_is_named_at_the_edge():
    axes = Figure().add_subplot()
    axes.set_ylim(0, 1)
    connect_names(axes, [Named(0.5, 1.0, "near", "red"), Named(-900.0, 1.0, "far", "blue")])
    assert {text.get_text() for text in axes.texts} == {"near 0.50", "far −900.0 ↓ below the axis"}
    assert len(axes.lines) == 1


def test_the_picture_follows_the_numbers(write_run, tmp_path):
    result = compared(write_run(), write_run("promp-point"))
    pictures = [plot_comparison(result, tmp_path / "new" / f"{k}.png").read_bytes() for k in range(2)]
    assert pictures[0] == pictures[1] and pictures[0].startswith(b"\x89PNG")
    result["methods"][0]["iqm"][1] += 0.5
    assert plot_comparison(result, tmp_path / "other.png").read_bytes() != pictures[0]
