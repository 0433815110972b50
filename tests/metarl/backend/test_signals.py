"""Signals to a script: while it loads, while it works, and those that it inherited as ignored."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"


def start(script: str, torch: str, folder: Path, **options) -> subprocess.CompletedProcess:
    """Run a script where `import torch` runs the code given."""
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text(f"import os, signal, sys, time\n{torch}\n")
    path = os.pathsep.join([str(folder), str(SCRIPTS.parent)])
    command = [sys.executable, SCRIPTS / script]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, **options)


def test_what_nohup_ignores_stays_ignored(tmp_path):
    code = "os.kill(os.getpid(), signal.SIGHUP); os._exit(7)"
    ignore = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    assert start("train.py", code, tmp_path, **ignore).returncode == 7


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_of_other_work_ends_in_a_sentence(script, trained, monkeypatch, number, sentence, files):
    before = files(trained), [signal.getsignal(s) for s in (signal.SIGINT, number)]
    monkeypatch.setattr("metarl.evaluation.evaluate.play_stages", lambda *args: os.kill(os.getpid(), number))
    result = script("evaluate", trained)
    assert result.status == 128 + number
    assert f"Stopped by {number.name}" in sentence(result.err)
    assert (files(trained), [signal.getsignal(s) for s in (signal.SIGINT, number)]) == before
