"""Families in words."""

from __future__ import annotations

import dataclasses

import pytest

import envs
from envs.describing import family_rows, parameter_rows


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
