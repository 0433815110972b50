"""experiments/trial_returns.py: rows are made once, and unknown ones are named."""

from __future__ import annotations

import json

import pytest


def test_a_row_is_made_once_and_its_total_is_the_sum_of_its_stages(script, tmp_path):
    small = ("--seeds", 2, "--num-tasks", 3, "--folder", tmp_path / "runs", "--device", "cpu")
    output = tmp_path / "rows.json"
    arguments = ("bandit", "--rows", "untrained, rate 20", *small, "--split", "validation", "--output", output)
    results = []
    for _ in range(2):
        result = script("trial_returns", *arguments)
        assert result.status == 0 and "untrained, rate 20" in result.out
        results.append(json.loads(output.read_text()))
    assert results[0] == results[1] and [row["seed"] for row in results[0]] == [0, 1]
    for row in results[0]:
        assert len(row["stages"]) == 10 and row["total"] == pytest.approx(sum(row["stages"]))


def test_what_there_is_not_is_named(script, sentence):
    for arguments, said in ((("chess",), "no table 'chess'"), (("bandit", "--rows", "best"), "no row 'best'")):
        result = script("trial_returns", *arguments)
        assert result.status == 2 and said in sentence(result.err)
