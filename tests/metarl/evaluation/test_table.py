"""The table of an evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from metarl.algorithms.base import Stages
from metarl.evaluation.curve import summarize
from metarl.evaluation.table import evaluation_table, interval, number, scores_table


@pytest.mark.parametrize("stages", [Stages(2), Stages(num_episodes=3)])
def test_there_is_a_row_for_each_stage_and_reference(stages):
    rewards, references = np.ones((4, 3, 5)), {"random": np.zeros((4, stages.episodes, 5))}
    told = {"preset": "maml-point", "env": "point/finn2017", "num_tasks": 4, "split": "test", "iteration": 1}
    table = evaluation_table({**told, **summarize(rewards, references, stages)})
    trials = ["whole trial", "random, whole trial"] if stages.num_episodes > 1 else []
    assert list(table.columns[0].cells) == [*stages.names, "random", *trials]
    greedy = evaluation_table({**told, **summarize(rewards, references, stages, np.full((4, stages.episodes, 5), 2.0))})
    name = "whole trial" if stages.num_episodes > 1 else stages.names[-1]
    row = list(greedy.columns[0].cells).index(f"{name}, greedy")
    assert list(greedy.columns[1].cells)[row] == f"{10 * stages.episodes:.2f}"
    assert len(greedy.rows) == len(table.rows) + 1
    assert next(iter(table.columns[1].cells)) == "5.00"
    assert "4 test tasks" in str(table.title) and stages.unit in str(table.caption)


def test_scores_have_a_column_each():
    score = {"adaptation": {"mean": [0.25, 0.5, 1.0]}, "references": {"random": {"mean": 0.125}}}
    told = {"preset": "maml-point", "env": "point/finn2017", "stages": {"num_steps": 2, "num_episodes": 0}}
    table = scores_table({**told, "references": {"random": {}}, "scores": {"hits": score}})
    assert list(table.columns[0].cells) == [*Stages(2).names, "random"]
    assert table.columns[1].header == "hits" and [*table.columns[1].cells] == ["0.250", "0.500", "1.000", "0.125"]


def test_numbers_keep_what_matters():
    assert (number(1.234), number(-123.45), interval((1.0, 100.0))) == ("1.23", "-123.5", "1.00 … 100.0")
