"""Families in words."""

from __future__ import annotations

import dataclasses

import pytest

import envs
from envs.describing import Draw, drawn_tasks, family_rows, parameter_rows


@pytest.mark.parametrize("id", ["point", "gridworld", "bernoulli-bandit"])
def test_a_family_is_told_whole(id):
    env, rows = envs.make(id), dict(family_rows(id))
    assert all(preset in rows["presets (steps)"] for preset in envs.family(id).presets)
    assert rows["observation"] == str(env.observation_space) and rows["action"] == str(env.action_space)
    assert {f"task: {name}" for name in env.task_space} | {f"split: {name}" for name in env.splits} <= set(rows)
    assert all(name in rows["references"] for name in env.references())


def test_parameters_are_told_with_where_presets_differ():
    rows = {name: (value, meaning) for name, value, meaning in parameter_rows("point")}
    assert set(rows) == {field.name for field in dataclasses.fields(envs.make_config("point"))}
    assert rows["horizon"][0] == "100" and "semicircle 20" in rows["horizon"][1]


def test_an_unknown_family_is_named():
    with pytest.raises(envs.InputError, match="Did you mean 'point'"):
        family_rows("piont")


def test_drawn_tasks_are_told_and_saved(tmp_path):
    path = tmp_path / "tasks.json"
    lines = drawn_tasks("point", None, Draw(3, "test", 5, path))
    env = envs.make("point")
    rows = env.task_to_dicts(envs.load_tasks(path, env))
    assert lines == [*(envs.describe_task(env, row) for row in rows), f"Wrote {path}"]
    assert rows == env.task_to_dicts(env.sample_tasks(3, envs.task_generator(5, "test"), "test"))


@pytest.mark.parametrize(("draw", "field"), [(Draw(-1), "sample"), (Draw(1, seed=-1), "seed"), (Draw(seed=1), "seed")])
def test_a_draw_that_makes_no_sense_names_the_field(draw, field):
    with pytest.raises(envs.InputError, match=field):
        drawn_tasks("point", None, draw)
