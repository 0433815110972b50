"""Names beside curves."""

from __future__ import annotations

from matplotlib.figure import Figure

from metarl.figures.plot import Named, connect_names


def test_a_far_value_is_named_at_the_edge():
    axes = Figure().add_subplot()
    axes.set_ylim(0, 1)
    connect_names(axes, [Named(0.5, 1.0, "near", "red"), Named(-900.0, 1.0, "far", "blue")])
    assert {text.get_text() for text in axes.texts} == {"near 0.50", "far −900.0 ↓ below the axis"}
    assert len(axes.lines) == 1
