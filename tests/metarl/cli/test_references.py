"""scripts/references.py prints what the references earn."""

from __future__ import annotations

import re


def test_it_prints_the_returns_of_whole_trials(script):
    result = script("references", "gridworld", "--num-tasks", 2100, "--num-episodes", 4)
    assert result.status == 0
    rows = {
        m[1]: (float(m[2]), float(m[3]))
        for m in re.finditer(r"^ *([\w -]+?)  +(-?[\d.]+) +([\d.]+) *$", result.out, re.M)
    }
    for name, exact in {"shortest path": 44.286, "Bayes-optimal search": 37.214}.items():
        mean, error = rows[name]
        assert abs(mean - exact) < 4 * error and 0 < error < 0.5
    assert rows["random"][0] < 0


def test_bad_input_is_named(script):
    for arguments, said in {
        ("gridwrld",): "Did you mean 'gridworld'?",
        ("point", "--num-tasks", 0): "num_tasks must be at least 1, not 0.",
        ("point", "--split", "tset"): "Did you mean 'test'?",
        ("point", "--preset", "fin2017"): "Did you mean 'finn2017'?",
    }.items():
        result = script("references", *arguments)
        assert result.status == 2 and said in result.err and "Traceback" not in result.err
