"""The figures of a comparison."""

from __future__ import annotations

import numpy as np
from comparisons import STEPS, comparison, several
from matplotlib.figure import Figure
from PIL import Image

from metarl.figures.appearance import LOOKS, label, labels, looks
from metarl.study.plots import draw_comparison, draw_intervals, plot_comparisons, study_looks


def test_a_method_has_one_colour_in_all_panels(write_run, tmp_path):
    results = several(write_run)
    axes = Figure().subplots(2)
    for one, result in zip(axes, results, strict=True):
        draw_comparison(one, result, study_looks(results))
    maml, there = (next(line for line in one.lines if line.get_label() == "MAML") for one in axes)
    assert maml.get_color() == there.get_color() == (LOOKS["maml"].colour, 0.6)
    assert maml.get_markerfacecolor() == LOOKS["maml"].colour
    picture = plot_comparisons(results, tmp_path / "several.png")
    with Image.open(picture) as image:
        assert image.width > 2 * image.height


# --- The figure --------------------------------------------------------------------------------------------------


def test_the_lines_are_the_numbers_and_every_method_and_reference_is_named(write_run):
    names = [
        f"{name}-point" for name in ("maml", "promp", "reptile", "fomaml", "rl2", "snail", "pearl", "meta-networks")
    ]
    result = comparison(*(write_run(name, scores=[[-20.0, -3.0 - k / 50]] * 2) for k, name in enumerate(names)))
    shown = labels(names)
    assert shown["rl2-point"] == "RL²"
    axes = Figure().add_subplot()
    draw_comparison(axes, result, study_looks([result]))
    lines = {line.get_label(): line for line in axes.lines}
    for method in result.methods:
        np.testing.assert_allclose(lines[shown[method.name]].get_ydata(), method.adaptation.iqm)
    assert len({lines[name].get_markerfacecolor() for name in shown.values()}) == 8
    texts = sorted(axes.texts, key=lambda text: text.get_position()[1])
    assert {text.get_text().rsplit(" ", 1)[0] for text in texts} == {*shown.values(), "random"}
    assert "−" in texts[0].get_text()
    heights = [text.get_position()[1] for text in texts]
    assert np.diff(heights).min() > 0.05 and heights[0] >= 0 and heights[-1] <= 1


def test_the_picture_follows_the_numbers(write_run, tmp_path):
    first, second, other = write_run(), write_run("promp-point"), write_run(scores=((0.0, 1.0), (2.0, 4.0)), name="x")
    names = [(first, "a"), (first, "b"), (other, "c")]
    pictures = [plot_comparisons([comparison(run, second)], tmp_path / "new" / f"{n}.png") for run, n in names]
    a, b, c = (picture.read_bytes() for picture in pictures)
    assert a == b != c and a.startswith(b"\x89PNG")


# --- The figure --------------------------------------------------------------------------------------------------


def drawn(result):
    axes = Figure().add_subplot()
    draw_comparison(axes, result, study_looks([result]))
    return axes, {line.get_label(): line for line in axes.lines}


def test_the_axis_of_mixed_methods_is_experience(write_run, maml, metanet):
    baseline = write_run("ppo-point", scores=[[1.0], [2.0]])
    result = comparison(maml, metanet, baseline)
    axes, lines = drawn(result)
    assert axes.get_xlabel().startswith("episodes of experience on the task")
    for method in result.methods:
        x, y = lines[label(method.name)].get_data()
        np.testing.assert_allclose(y, method.adaptation.iqm)
        np.testing.assert_allclose(x, method.run.episodes_before, atol=0.2)  # beside one another
    assert [lines[name].get_drawstyle() for name in ("MAML", "MetaNet")] == ["steps-post", "default"]
    carried = [line.get_xydata().tolist() for line in axes.lines if line.get_label() == "_carried on"]
    np.testing.assert_allclose(
        carried, [[[2.0, 7.0], [8.0, 7.0]], [[0.0, 1.5], [8.0, 1.5]], [[2.0, -2.0], [8.0, -2.0]]], atol=0.2
    )
    assert axes.get_xscale() == "linear"
    assert {0, 8} <= set(axes.get_xticks()) <= {0, 1, 2, 4, 8}


def test_experience_that_differs_widely_has_a_logarithmic_axis(write_run, metanet):
    axes, _ = drawn(comparison(write_run("promp-point", scores=STEPS, num_envs=400), metanet))
    assert axes.get_xscale() == "symlog"
    assert list(axes.get_xticks()) == [0, 1, 2, 400, 800]
    places = axes.transAxes.inverted().transform(axes.transData.transform([[x, 0] for x in axes.get_xticks()]))[:, 0]
    assert np.diff(places).min() > 0.04 and places[0] > 0 and places[-1] < 1


def test_episodes_of_trials_are_counted_from_one(write_run, metanet):
    shorter = write_run("rl2-point", scores=[[0.0, 1.0], [3.0, 4.0]], num_episodes=2)
    axes, lines = drawn(comparison(metanet, shorter))
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "3"]
    assert list(lines["MetaNet"].get_xdata().round()) == [1, 2, 3]
    assert list(lines["RL²"].get_xdata().round()) == [1, 2]
    np.testing.assert_allclose(lines["_reference"].get_xydata(), [[1, -4.0], [2, -3.0], [3, -2.0]])


def test_single_stages_are_rows_with_intervals(write_run, tmp_path):
    runs = [write_run(f"{name}-bandit", scores=[[1.0], [2.0]], num_episodes=1) for name in ("metanet", "rl2")]
    result = comparison(*runs)
    axes = Figure().add_subplot()
    draw_intervals(axes, result, study_looks([result]))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["MetaNet", "RL²", "random"]
    assert axes.get_xlabel() == "return of the whole trial"
    shown = [text.get_text() for text in axes.texts]
    assert shown[0] == "1.50  (1.00 … 2.00)" and shown[2].startswith("−4.00")
    assert plot_comparisons([result], tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_more_methods_than_colours_are_told_apart(write_run, tmp_path):
    names = [f"m{k}$_x-point" for k in range(8)]  # a dollar sign begins no formula
    result = comparison(*(write_run(name, scores=[[0.0, k], [1.0, k]]) for k, name in enumerate(names)))
    _, lines = drawn(result)
    assert lines.keys() >= set(names)
    assert len({(look.colour, look.dashes) for look in looks(names).values()}) == 8
    assert plot_comparisons([result], tmp_path / "x.png").exists()
