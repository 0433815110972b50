"""`metarl play`: its address, how it ends, and what it refuses."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from agents import saved_run

from envs.errors import InputError
from metarl.cli import play


def test_it_says_where_it_is_serves_and_ends_with_ctrl_c(tmp_path):
    saved_run(tmp_path / "mine", "rl2")
    command = [sys.executable, "-m", "metarl", "play", tmp_path / "mine", "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        (url,) = re.findall(r"http://127\.0\.0\.1:\d+/", line)
        assert "this machine only" in line
        with urllib.request.urlopen(f"{url}api/policies", timeout=30) as answer:
            assert b'"mine"' in answer.read()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0 and "Ended." in out and err == ""


def test_what_cannot_be_played_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="nowhere"):
        play.main(["nowhere", "--no-browser"])
    saved_run(tmp_path / "runs" / "mine", "rl2")
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputError, match="port"):
        play.main(["--no-browser", "--port", str(taken.getsockname()[1])])
