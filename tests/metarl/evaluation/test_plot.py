"""The adaptation curve as a picture."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from envs import InputError
from metarl.algorithms.base import Stages
from metarl.evaluation.curve import summarize
from metarl.evaluation.plot import draw_curve, plot_curve


def evaluation(references=None, num_tasks=12, num_steps=2):
    tasks = np.random.default_rng(0).normal(size=(num_tasks, num_steps + 1)) + np.linspace(-20, -3, num_steps + 1)
    mean = tasks.mean(0)
    return {
        "env": "point",
        "preset": "finn2017",
        "algorithm": "maml",
        "split": "test",
        "num_tasks": num_tasks,
        "iteration": 7,
        "seed": 0,
        "per_task": tasks.tolist(),
        "references": {name: {"mean": m, "mean_ci95": [m - 1, m + 1]} for name, m in (references or {}).items()},
        "stages": {"num_steps": num_steps, "num_episodes": 0},
        "adaptation": {
            "mean": mean.tolist(),
            "mean_ci95": [[m - 1, m + 1] for m in mean],
            "std": tasks.std(0).tolist(),
            "iqm": (mean + 0.1).tolist(),
            "iqm_ci95": [[m - 1, m + 1] for m in mean],
        },
    }


def drawn(result):
    axes = Figure().add_subplot()
    draw_curve(axes, result)
    return axes, {line.get_label(): line for line in axes.lines}


def test_the_lines_are_the_evaluations_numbers():
    result = evaluation()
    axes, lines = drawn(result)
    np.testing.assert_allclose(lines["interquartile mean (IQM)"].get_ydata(), result["adaptation"]["iqm"])
    np.testing.assert_allclose(lines["mean"].get_ydata(), result["adaptation"]["mean"])
    np.testing.assert_allclose(lines["single tasks"].get_ydata(), result["per_task"][0])
    assert list(axes.get_xticks()) == [0, 1, 2]
    assert axes.get_xlabel() == "gradient steps"


def test_a_near_reference_lies_on_the_axis():
    axes, _ = drawn(evaluation({"random": -30.0}))
    assert axes.get_ylim()[0] < -30
    assert [text.get_text() for text in axes.texts] == ["random −30.0"]


def test_a_far_reference_is_named_and_does_not_squash_the_curve():
    axes, _ = drawn(evaluation({"random": -5000.0, "oracle": -1.0}))
    low, high = axes.get_ylim()
    assert -30 < low < high < 10
    assert [text.get_text() for text in axes.texts] == ["random −5000.0 ↓ below the axis", "oracle −1.00"]


def test_names_of_equal_references_do_not_overlap():
    axes, _ = drawn(evaluation({name: -5.0 for name in "abc"}))
    heights = sorted(text.get_position()[1] for text in axes.texts)
    assert np.diff(heights).min() > 0.05


def test_an_outlying_task_is_counted_in_the_legend():
    result = evaluation(num_tasks=40)
    result["per_task"][3][1] = -1e6
    axes, _ = drawn(result)
    assert axes.get_ylim()[0] > -100
    assert "single tasks (1 beyond the axis)" in [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize("num_steps", [0, 1, 5])
def test_the_png_is_written(tmp_path, num_steps):
    path = plot_curve(evaluation({"random": -9.0}, num_steps=num_steps), tmp_path / "new" / "curve.png")
    with Image.open(path) as image:
        assert image.format == "PNG" and min(image.size) > 400


def test_what_cannot_be_written_is_said(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.png"):
        plot_curve(evaluation(), tmp_path / "curve.pdf")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        plot_curve(evaluation(), tmp_path / "file" / "curve.png")


# --- Trials ------------------------------------------------------------------------------------------------------


def trials(num_episodes, horizon=3, num_tasks=30):
    """Random rewards whose mean rises from episode to episode, and those of two references."""
    rng = np.random.default_rng(0)

    def rewards(level, episodes):
        return rng.normal(size=(num_tasks, episodes, horizon)) + level + np.arange(episodes)[:, None]

    references = {"random": rewards(-1, num_episodes), "search": rewards(1, num_episodes)}
    return {
        **{key: value for key, value in evaluation().items() if key not in ("adaptation", "per_task", "references")},
        "preset": "metanet-x",
        **summarize(rewards(0, num_episodes), references, Stages(num_episodes=num_episodes)),
    }


def test_episodes_are_counted_from_one_and_references_are_curves():
    result = trials(4)
    axes, lines = drawn(result)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "3", "4"]
    assert axes.get_xlabel() == "episode of the trial"
    np.testing.assert_allclose(lines["mean"].get_xydata(), np.c_[[1, 2, 3, 4], result["adaptation"]["mean"]])
    for name, reference in result["references"].items():
        np.testing.assert_allclose(lines[f"_{name}"].get_ydata(), reference["trial"]["curve"]["mean"])
    last = {name: r["trial"]["curve"]["mean"][-1] for name, r in result["references"].items()}
    last["MetaNet"] = result["adaptation"]["mean"][-1]
    texts = {text.get_text().replace("−", "-") for text in axes.texts}
    assert texts == {f"{name} {value:.{1 + (abs(value) < 10)}f}" for name, value in last.items()}


def test_a_trial_of_one_episode_is_drawn_by_steps_and_named_by_its_return():
    result = trials(1, horizon=12)
    axes, lines = drawn(result)
    assert axes.get_xlabel() == "step of the trial"
    np.testing.assert_allclose(lines["mean"].get_xydata(), np.c_[np.arange(1, 13), result["trial"]["curve"]["mean"]])
    for name, reference in result["references"].items():
        np.testing.assert_allclose(lines[f"_{name}"].get_ydata(), reference["trial"]["curve"]["mean"])
    of = {
        **{name: r["trial"]["mean"] for name, r in result["references"].items()},
        "MetaNet": result["trial"]["mean"],
    }
    texts = {text.get_text().replace("−", "-") for text in axes.texts}
    assert texts == {"return of the trial", *(f"{n} {v:.{1 + (abs(v) < 10)}f}" for n, v in of.items())}


@pytest.mark.parametrize(("episodes", "horizon"), [(1, 1), (2, 1), (10, 2)])
def test_the_png_of_a_trial_is_written(tmp_path, episodes, horizon):
    path = plot_curve(trials(episodes, horizon), tmp_path / "curve.png")
    with Image.open(path) as image:
        assert min(image.size) > 400
