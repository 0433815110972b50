"""What a diagnosis plays: tasks, other tasks, sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Generator

import envs
from metarl.diagnosis.probe import DiagnosisConfig, Probe, other_tasks, task_columns

# --- Tasks -------------------------------------------------------------------------------------------------------


def test_another_task_is_never_an_equal_one_where_that_can_be_helped():
    env = envs.make("gridworld", "varibad")
    task = env.sample_tasks(40, Generator().manual_seed(0))
    partner = other_tasks(env, task, 0)
    assert sorted(partner) == list(range(40))
    rows = np.concatenate(list(task_columns(env, task).values()), 1)
    assert len(np.unique(rows, axis=0)) < 40
    assert (rows != rows[partner]).any(1).all()
    assert (other_tasks(env, task, 1) != partner).any()
    same = task[torch.zeros(5, dtype=torch.int64)]
    assert sorted(other_tasks(env, same, 0)) == list(range(5))


@pytest.mark.parametrize("name", sorted(name for name in envs.FAMILIES if "-" not in name or "bandit" in name))
def test_tasks_of_every_family_are_columns(name):
    env = envs.make(name)
    columns = task_columns(env, env.sample_tasks(6, Generator().manual_seed(0)))
    assert columns.keys() == env.task_space.spaces.keys()
    assert all(c.shape[0] == 6 and c.ndim == 2 and np.isfinite(c).all() for c in columns.values())


# --- Sizes -------------------------------------------------------------------------------------------------------


def test_default_sizes_follow_the_run(make_run):
    run = make_run(num_envs=20, horizon=100)
    probe = Probe.of(run, DiagnosisConfig())
    assert (probe.num_tasks, probe.num_envs, probe.judges, probe.trained_steps) == (64, 20, 5, 1)
    assert Probe.of(run, DiagnosisConfig(num_envs=2)).judges == 2
    assert Probe.of(run, DiagnosisConfig(num_envs=200)).judges == 50
    assert Probe.of(run, DiagnosisConfig(num_tasks=9, num_envs=3, num_steps=1)).num_tasks == 9
    assert Probe.of(make_run("long", num_envs=100, horizon=1000), DiagnosisConfig()).num_tasks == 16
    assert Probe.of(make_run("short", num_envs=1, horizon=1), DiagnosisConfig()).num_tasks == 1000
    assert Probe.of(make_run("fewer", num_envs=1, horizon=1, eval_num_tasks=40), DiagnosisConfig()).num_tasks == 40
