"""Learning curves from the runs' logs."""

from __future__ import annotations

import numpy as np
import pytest
from comparisons import write_log

from metarl.figures.appearance import LOOKS, looks
from metarl.study.learning_curves import draw_learning, learning_curve
from metarl.study.methods import group
from metarl.study.runs import read_run


def test_learning_curves_are_the_logged_returns_after_adaptation(write_run):
    first, second = write_run(env_steps=150), write_run(seed=1, env_steps=150)
    write_log(first, [-3.0, -2.0, -1.0, 50.0])  # the last one came after the evaluation
    write_log(second, [-5.0, -4.0, -3.0])
    np.testing.assert_allclose(learning_curve(first, 150), [[50, 100, 150], [-3, -2, -1]])
    (method,) = group([read_run(first), read_run(second)])
    (axes,) = draw_learning([method], looks(["maml"])).axes
    lines = [line.get_xydata().tolist() for line in axes.lines if line.get_label() in ("MAML", "_seed")]
    assert lines == [[[50, y], [100, y + 1], [150, y + 2]] for y in (-3, -5, -4)]
    assert {line.get_color() for line in axes.lines if line.get_label() in ("MAML", "_seed")} == {LOOKS["maml"].colour}


def test_the_first_returns_do_not_squeeze_the_rest(write_run):
    run = write_run(env_steps=10_000)
    write_log(run, [-9000.0, *np.linspace(-3.0, -2.0, 99)])
    figure = draw_learning(group([read_run(run)]), looks(["maml"]))
    low, high = figure.axes[0].get_ylim()
    assert low > -5 and high < 0
    assert any("cut off at the axis" in text.get_text() for text in figure.texts)


def test_a_long_log_is_thinned_and_keeps_its_mean(write_run):
    run = write_run()
    write_log(run, list(range(1000)), 1)
    curve = learning_curve(run, 1000)
    assert curve.shape[1] <= 300 and curve[0, -1] == 1000 and curve[1].mean() == pytest.approx(499.5)
