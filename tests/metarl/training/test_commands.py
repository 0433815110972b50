"""The commands that a run folder keeps."""

from __future__ import annotations

from metarl.training import commands


def test_a_folder_keeps_the_commands_that_made_it(tmp_path):
    assert commands.read(tmp_path)[0].startswith(f"# {tmp_path} was not made by metarl train")
    commands.add(tmp_path, commands.command_line("train", ["maml-point", "--run-dir", "a b"]))
    commands.add(tmp_path, commands.command_line("train", ["--resume", "a b", "--num-iterations", "9"]))
    assert commands.read(tmp_path) == [
        "metarl train maml-point --run-dir 'a b'",
        "metarl train --resume 'a b' --num-iterations 9",
    ]
