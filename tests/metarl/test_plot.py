"""The adaptation curve as a picture."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from envs import InputError
from metarl.plot import GrowingChart, draw_curve, plot_curve, step_colours


def evaluation(references=None, num_tasks=12, num_steps=2):
    tasks = np.random.default_rng(0).normal(size=(num_tasks, num_steps + 1)) + np.linspace(-20, -3, num_steps + 1)
    mean = tasks.mean(0)
    return {
        "env": "point", "preset": "finn2017", "algorithm": "maml", "split": "test", "num_tasks": num_tasks,
        "iteration": 7, "seed": 0, "per_task": tasks.tolist(), "references": references or {},
        "adaptation": {
            "unit": "gradient steps", "mean": mean.tolist(), "iqm": (mean + 0.1).tolist(),
            "std": tasks.std(0).tolist(), "ci95": [[m - 1, m + 1] for m in mean],
        },
    }  # fmt: skip


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
    axes, _ = drawn(evaluation({"random": {"mean": -30.0, "ci95": [-31.0, -29.0]}}))
    assert axes.get_ylim()[0] < -30
    assert [text.get_text() for text in axes.texts] == ["random −30.0"]


def test_a_far_reference_is_named_and_does_not_squash_the_curve():
    axes, _ = drawn(evaluation({"random": {"mean": -5000.0}, "oracle": {"mean": -1.0}}))
    low, high = axes.get_ylim()
    assert -30 < low < high < 10
    assert [text.get_text() for text in axes.texts] == ["random −5000.0 ↓ below the axis", "oracle −1.00"]


def test_names_of_equal_references_do_not_overlap():
    axes, _ = drawn(evaluation({name: {"mean": -5.0} for name in "abc"}))
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
    path = plot_curve(evaluation({"random": {"mean": -9.0}}, num_steps=num_steps), tmp_path / "new" / "curve.png")
    with Image.open(path) as image:
        assert image.format == "PNG" and min(image.size) > 400


def test_what_cannot_be_written_is_said(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.png"):
        plot_curve(evaluation(), tmp_path / "curve.pdf")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        plot_curve(evaluation(), tmp_path / "file" / "curve.png")


def test_the_growing_chart_grows_on_axes_that_stay():
    curves = np.array([[0.0, -1.0, -4.0], [0.0, -1.0, -1.5]])
    chart = GrowingChart(curves, step_colours(2), "gradient steps", 300, 200)
    (start, first), (end, last) = chart.draw(0), chart.draw(2)
    assert start.shape == end.shape == (200, 300, 3) and (start != end).any()
    assert [value for _, _, value in last] == [-4.0, -1.5]
    assert first[0][1] == first[1][1] < last[1][1] < last[0][1]  # both start at 0; further down is a larger y
    np.testing.assert_array_equal(chart.draw(0)[0], start)
