"""The log of a run: whole lines, none twice, none missing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from training_runs import trained_run

from metarl.training.run import Run

# --- Metrics and undoing -----------------------------------------------------------------------------------------


def test_metrics_after_the_checkpoint_are_dropped(make_run):
    run = make_run()
    lines = [json.dumps({"iteration": k, "return_0": -k}) for k in (1, 2, 3, 4)]
    run.iteration = 2
    for text in ("\n".join(lines) + "\n", "\n".join([*lines, '{"iteration": 5, "ret']), "\n".join([*lines, "5", "[]"])):
        (run.path / "metrics.jsonl").write_text(text)
        run.trim_metrics()
        assert (run.path / "metrics.jsonl").read_text() == "\n".join(lines[:2]) + "\n"
    run.log({"iteration": 3})
    assert (run.path / "metrics.jsonl").read_text().splitlines() == [*lines[:2], '{"iteration": 3}']


def test_the_log_is_on_the_disk_before_the_checkpoint_that_covers_it(make_run, monkeypatch):
    run, steps = make_run(num_iterations=1), []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))
    monkeypatch.setattr(Path, "replace", lambda a, b: (steps.append(f"named {b}"), replace(a, b)))
    trained_run(run)
    names = [Path(step).name for step in steps if not step.endswith(".partial")]
    assert names == ["checkpoint.pt", "metrics.jsonl", "checkpoint.pt"]  # before and after the only iteration


@pytest.mark.parametrize(
    ("spoil", "gap"),
    [
        (lambda lines: [*lines[:-1], lines[-1][:-1]], None),  # all of the last line but its end
        (lambda lines: [*lines[:-1], lines[-1][:-9]], (1, 3)),
        (lambda lines: [lines[0], lines[1][:9] + "\n", lines[2]], (1, 2)),
        (lambda lines: [], (3, 1)),
        (lambda lines: [*lines, *lines[1:]], None),  # as two processes in one folder left it
    ],
)
def test_a_log_that_is_not_whole_is_mended_and_a_gap_is_told(trained, spoil, gap, capfd, sentence):
    file = trained / "metrics.jsonl"
    whole = file.read_text().splitlines(keepends=True)
    file.write_text("".join(spoil(whole)))
    trained_run(Run.open(trained, num_iterations=5))
    there = [json.loads(line)["iteration"] for line in file.read_text().splitlines()]
    err = capfd.readouterr().err
    gone = sorted({1, 2, 3} - set(there))
    assert there == [k for k in range(1, 6) if k not in gone]
    assert (err == "") == (gone == []) == (gap is None)
    assert gap is None or "lacks {} of the 3 iterations that the checkpoint covers, the first of them {};".format(
        *gap
    ) in sentence(err)
