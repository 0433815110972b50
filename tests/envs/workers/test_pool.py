"""Worker processes: they end with the family, and grow with the number of lanes."""

from __future__ import annotations

import gc
import signal

import pytest
from walkers import Walk
from walks import episodes, walk

from envs.workers import pool as module
from envs.workers.pool import usable_cores


def test_workers_start_at_the_first_reset_and_end_with_the_family():
    env = walk(workers=2)
    assert env.pool.workers == []
    episodes(env, 1, 1, steps=1)
    episodes(env, 5, 2, steps=1)
    processes = [own.process for own in env.pool.workers]
    assert len(processes) == 2 and all(process.poll() is None for process in processes)
    del env
    gc.collect()
    assert [process.returncode for process in processes] == [0, 0]


def test_a_worker_that_does_not_end_is_killed(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.2)

    class Stays(Walk):
        def close(self):
            while True:
                pass

    env = walk(Stays)
    episodes(env, 1, 1, steps=1)
    process = env.pool.workers[0].process
    env.pool.close()
    assert process.returncode == -signal.SIGKILL


def test_an_interrupt_ends_the_workers_and_the_next_reset_starts_new_ones(monkeypatch):
    env = walk()
    right = episodes(env, steps=1)[0]

    def interrupt(requests):
        raise KeyboardInterrupt

    monkeypatch.setattr(env.pool, "_ask", interrupt)
    with pytest.raises(KeyboardInterrupt):
        env.pool.step()
    monkeypatch.undo()
    assert episodes(env, steps=1)[0].equal(right)


def test_processes_of_one_run_share_the_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    assert usable_cores() == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert usable_cores() == 2
