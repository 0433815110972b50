"""The tasks and stages that evaluation and videos play."""

from __future__ import annotations

from pathlib import Path

import pytest

import envs
from envs.errors import InputError
from metarl.evaluation.selection import Selection


def test_tasks_follow_from_the_seed_and_the_split(make_run):
    run = make_run()
    goals = Selection(split="ood", seed=2).draw(run, default=5).goal
    expected = run.env.sample_tasks(5, envs.task_generator(2, "ood"), "ood").goal
    assert goals.equal(expected)
    assert len(Selection(num_tasks=3).draw(run, default=5)) == 3


def test_tasks_of_a_file_come_as_they_are(make_run, tmp_path):
    run = make_run()
    task = run.env.sample_tasks(4, envs.task_generator(7, "train"))
    path = envs.save_tasks(tmp_path / "t.json", "point", None, run.env, task)
    selection = Selection(tasks=path)
    assert selection.draw(run, default=9).goal.equal(task.goal) and selection.source == str(path)


def test_stages_are_those_of_the_method(make_run):
    assert len(Selection().stages(make_run())) == 4
    assert len(Selection(num_steps=1).stages(make_run("other"))) == 2


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"num_tasks": 0}, "num_tasks"),
        ({"num_steps": -1}, "num_steps"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"tasks": Path("t.json"), "split": "ood"}, "--split"),
        ({"tasks": Path("t.json"), "num_tasks": 2}, "--num-tasks"),
    ],
)
def test_what_makes_no_sense_is_named(fields, named):
    with pytest.raises(InputError, match=named):
        Selection(**fields)
