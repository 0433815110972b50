"""experiments/learner_curves.py: every stage of a run, played by a learner and by evaluation."""

from __future__ import annotations

import re

from agents import saved_run


def test_rows_are_the_stages_of_each_run(script, trained, tmp_path):
    rl2 = saved_run(tmp_path / "rl2", "rl2").path
    result = script("learner_curves", trained, rl2, "--num-tasks", 2, "--num-envs", 2, "--num-threads", 1)
    assert (result.status, result.err) == (0, "")
    rows = re.findall(r"\| `(\w+)` \| (.*) \| (.*) \| (.*) \|", result.out)
    assert [name for name, *_ in rows] == ["trained", "rl2"]
    for (_, *curves, apart), stages in zip(rows, (4, 3), strict=True):
        assert [len(curve.split(" → ")) for curve in curves] == [stages] * 2 and apart.count("±") == stages
