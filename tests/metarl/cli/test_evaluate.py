"""What evaluation does beside what tests/scripts/test_scripts.py has."""

from __future__ import annotations

import json


def test_a_policy_that_comes_with_the_package_is_evaluated_by_its_name(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = script("evaluate", "rl2-bandit", "--num-tasks", "20", "--num-threads", "1", "--device", "cpu")
    assert result.status == 0, result.err
    assert json.loads((tmp_path / "runs/rl2-bandit-evaluation-test.json").read_text())["num_tasks"] == 20
