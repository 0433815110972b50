"""The lock on a folder."""

from __future__ import annotations

import errno
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import pytest
from filelock import FileLock
from training_runs import on_iteration, trained_run

from envs import InputError
from metarl.training.loop import train
from metarl.training.run import Run


def test_two_runs_of_a_folder_do_not_train_it_at_once(make_run, files, sentence):
    run = make_run()
    other, seen = Run.open(run.path), []

    def in_another_process(result):
        before = files(run.path, without="events.*")  # which a thread writes on
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
            seen.append(pool.submit(refusal, other).result())
        assert files(run.path, without="events.*") == before
        return result

    on_iteration(run, 2, in_another_process)
    trained_run(run)
    assert "is being trained by another process" in sentence(seen[0])
    assert "trained by another process since it was opened" in sentence(refusal(other))
    assert not (run.path / ".lock").exists()
    assert trained_run(Run.open(run.path, num_iterations=7)).iteration == 7


def refusal(run: Run) -> str:
    with pytest.raises(InputError) as error:
        train(run, quiet=True)
    return str(error.value)


def test_a_lock_that_a_kill_left_behind_is_no_obstacle(make_run):
    run = make_run()
    (run.path / ".lock").write_text("")
    assert trained_run(run).iteration == 6
    assert not (run.path / ".lock").exists()


def test_where_there_are_no_locks_training_goes_on_and_says_so(make_run, monkeypatch, capfd, sentence):
    def refuse(self):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(FileLock, "_acquire", refuse)
    assert trained_run(make_run()).iteration == 6
    assert "cannot be locked" in capfd.readouterr().err
