"""What a picture of a robot shows, for every family: values alone."""

from __future__ import annotations

import numpy as np
import pytest
from robots import FAMILIES, generator, walk

import envs
from envs.locomotion.picture import Chart, Mark


@pytest.mark.parametrize("family", FAMILIES)
def test_a_chart_has_a_value_for_each_state_and_names_its_unit(family):
    env = envs.make(family)
    task = env.sample_tasks(2, generator())
    states = [walk(env, task, 1, steps) for steps in (0, 1, 2)]
    chart = env.chart(task[0], type(states[0]).stack(states)[:, 0, 0])
    assert isinstance(chart, Chart) and chart.label.endswith(")") and " (" in chart.label
    assert chart.values.shape == (3,) and np.isfinite(chart.values).all()
    assert chart.target is None or np.isfinite(chart.target)
    marks = env.marks(task[0])
    assert all(isinstance(mark, Mark) for mark in marks)
    assert bool(marks) == (family in ("half-cheetah-dir", "ant-dir", "ant-goal"))
