"""experiments/memory.py: what its tables say of several seeds, without training."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "memory.py"
spec = importlib.util.spec_from_file_location("memory_tables", SCRIPT)
memory = sys.modules["memory_tables"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(memory)


def made_up(*arguments):
    row, _, seed = arguments[-3:]
    trials = [seed + 0.0, seed + 2.0]
    return {"row": row, "seed": seed, "trial": seed + 1.0, "trial_per_task": trials, "parameters": 5}


@pytest.mark.parametrize(("seeds", "head"), [(3, "3 seeds; 95 % intervals over seeds and tasks"), (1, "1 seed; 95 %")])
def test_the_head_says_how_many_seeds_there_are_and_what_intervals_are_over(monkeypatch, capsys, tmp_path, seeds, head):
    monkeypatch.setattr(memory, "result", made_up)
    output = tmp_path / "o.json"
    memory.main(["control-map", "--rows", "RL²", "--seeds", str(seeds), "--output", str(output)])
    assert head in " ".join(capsys.readouterr().out.split())
    assert [run["trial"] for run in json.loads(output.read_text())] == [1.0, 2.0, 3.0][:seeds]


def test_rows_of_an_older_version_have_the_interval_over_seeds(monkeypatch, capsys):
    runs = [{"trial": x} for x in (0.0, 10.0, 20.0)]
    half = 4.302653 * 10 / np.sqrt(3)
    assert memory.cell(runs) == f"10.00 [{10 - half:.2f}, {10 + half:.2f}]"
    old = lambda *arguments: {key: x for key, x in made_up(*arguments).items() if key != "trial_per_task"}  # noqa: E731
    monkeypatch.setattr(memory, "result", old)
    memory.main(["control-map", "--rows", "RL²", "--seeds", "3"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "intervals over seeds" in printed and "over seeds and tasks" not in printed
