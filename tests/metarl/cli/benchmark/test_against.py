"""metarl benchmark --against jax."""

import importlib.util

import pytest

from envs.errors import InputError
from metarl.cli.benchmark import against, command
from metarl.cli.session import TrainSession


def test_without_jax_it_says_so(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="JAX"):
        command.main(["--against=jax", "--num-threads=1"])


def test_it_takes_no_cases():
    with pytest.raises(InputError, match="cases"):
        command.main(["rl2-bandit-100", "--against=jax", "--num-threads=1"])


def test_medians_become_rates():
    row = against.figures("x", [(1.0, 3.0), (2.0, 4.0), (9.0, 9.0)])
    assert row["total_seconds"] == 6.0 and row["sampling_steps_per_second"] == 12_800


def test_an_iteration_of_ours_has_two_parts(monkeypatch):
    monkeypatch.setattr(against, "LANES", 4)
    monkeypatch.setattr(against, "PULLS", 5)
    assert all(part > 0 for part in against.own_iteration(TrainSession(device="cpu", num_threads=1), "rl2"))
