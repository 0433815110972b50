"""The frame of every script."""

from __future__ import annotations

from metarl.cli.main import option, progress_bar


def test_options_are_found_before_they_are_parsed():
    assert option(["--a", "1", "--env", "x"], "--env") == "x"
    assert option(["--env=x=y"], "--env") == "x=y"
    assert option(["--env", "x", "--env=z"], "--env") == "z"
    assert option(["--env_preset", "x"], "--env-preset") == "x"
    assert option(["--env-preset", "x", "--env"], "--env") is None
    assert option([], "--env") is None


def test_a_progress_bar_writes_nothing_into_a_file(capsys):
    with progress_bar("work") as progress:
        progress(0.5)
    assert capsys.readouterr().out == ""
