"""A diagnosis in words."""

from __future__ import annotations

from metarl.diagnosis.table import evidence, findings_table, heading, in_words

FOUND = [
    {"name": "adaptation", "verdict": "problem", "sentence": "It [harms].", "numbers": {"tasks": 8}, "next": "more"},
    {"name": "leak", "verdict": "does not apply", "sentence": "None.", "numbers": {}, "next": ""},
]
RESULT = {
    "preset": "maml-point",
    "env": "point/finn2017",
    "iteration": 3,
    "split": "test",
    "num_tasks": 8,
    "num_envs": 1,
}


def test_numbers_in_words():
    assert evidence({"gain": {"mean": 1.25, "mean_ci95": [0.5, 2.0]}, "tasks": 64}) == "gain 1.25 (0.5 … 2); tasks 64"
    assert in_words({"a": 1, "b": [None, "c"]}) == "a: 1, b: –, c" and in_words({}) == "–"


def test_a_row_for_each_finding():
    names, verdicts, said = (list(column.cells) for column in findings_table({"findings": FOUND}).columns)
    assert names == ["adaptation", "leak"] and "problem" in verdicts[0] and "–" in verdicts[1]
    assert "\\[harms]" in said[0] and "tasks 8" in said[0] and "try: more" in said[0] and said[1] == "None."


def test_the_heading_says_what_was_played():
    text = heading({**RESULT, "verdict": "problem", "sentence": "It [harms]."})
    assert "\\[harms]" in text and "maml-point after 3 meta-iterations" in text and "1 episode a task" in text
