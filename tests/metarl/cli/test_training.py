"""The arguments of train.py."""

from __future__ import annotations

import pytest

from envs.errors import InputError
from metarl.cli.training import evaluate_command, resume_command, run_to_train

SESSION = ["--device", "cpu", "--num-threads", "1"]


def test_a_command_line_describes_a_run_and_writes_nothing(tmp_path):
    path = tmp_path / "run"
    fields = ["--run-dir", str(path), "--env.horizon", "7", "--inner-lr", "0.3", "--seed", "4"]
    run, held_out = run_to_train(["maml-point", *fields, *SESSION], "about")
    assert (run.path, run.preset, run.config.seed, run.env.horizon) == (path, "maml-point", 4, 7)
    assert run.config.algorithm.inner_lr == 0.3 and held_out is None
    assert run.is_new and not path.exists()


def test_a_run_is_gone_on_with(trained):
    run, held_out = run_to_train(["--resume", str(trained), "--eval-every", "2", *SESSION], "about")
    assert run.iteration == 3 and not run.is_new and held_out.every == 2


def test_without_a_preset_none_is_guessed():
    with pytest.raises(InputError, match="Name a preset first"):
        run_to_train(["--seed", "3"], "about")


def test_commands_repeat_the_options_that_they_need(make_run):
    run = make_run("my run")
    arguments = ["maml-point", "--imports", "my_family", "--eval-every=5", "--seed", "3"]
    assert evaluate_command(run, arguments) == f"metarl evaluate '{run.path}' --imports my_family"
    resume = f"metarl train --resume '{run.path}' --imports my_family --eval-every 5"
    assert resume_command(run, arguments) == resume
