"""Sizes that no machine has room for: one sentence, and no run folder is left behind."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

import envs
from envs import InputError
from metarl.algorithms.maml import MAMLConfig
from metarl.cli.session import Session
from metarl.policies.metanet import MetaNetConfig
from metarl.policies.mlp import MLPConfig
from metarl.policies.rl2 import RL2Config
from metarl.training import loop, room
from metarl.training.room import check_room, too_large

HUGE = 1_000_000_000
TINY = ["--meta-batch-size", 2, "--num-envs", 3, "--hidden-sizes", 4, "--env.horizon", 5, "--num-iterations", 3]


@pytest.mark.parametrize(
    ("preset", "option", "value"),
    [
        ("maml-point", "--num-envs", HUGE),
        ("maml-point", "--meta-batch-size", HUGE),
        ("maml-point", "--env.horizon", 10**24),
        ("maml-point", "--num-inner-steps", HUGE),
        ("rl2-point", "--num-episodes", HUGE),
        ("pearl-point", "--replay-episodes", HUGE),
    ],
)
def test_a_meta_iteration_must_fit_into_memory(script, sentence, tmp_path, preset, option, value):
    result = script("train", preset, option, value, "--run-dir", tmp_path / "run")
    assert (result.status, result.out) == (2, "")
    assert "GB" in (said := sentence(result.err)) and "memory" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("preset", "options", "named"),
    [("pearl-point", ["--replay-episodes", 300], "replay"), ("dpt-dark-room", ["--context-size", 5000], "datasets")],
)
def test_what_a_method_holds_beside_trajectories_is_counted(
    script, sentence, tmp_path, monkeypatch, preset, options, named
):
    """Memory of 20 MB, of which trajectories and parameters take little."""
    monkeypatch.setattr(room, "device_memory", lambda device: 2.0e7)
    result = script("train", preset, *options, "--meta-batch-size", 2, "--run-dir", tmp_path / "run")
    assert (result.status, result.out) == (2, "")
    assert named in sentence(result.err)
    assert not (tmp_path / "run").exists()


def test_episodes_of_pretraining_are_counted(make_run, sentence):
    algorithm = MAMLConfig(pretrain_envs=HUGE)
    check_room((run := make_run("a", algorithm=algorithm)).config, run.env, run.algorithm)
    run = make_run("b", algorithm=dataclasses.replace(algorithm, pretrain_iterations=1))
    with pytest.raises(InputError) as error:
        check_room(run.config, run.env, run.algorithm)
    assert "memory" in sentence(error)


def test_what_fits_is_let_through(make_run):
    for run in (make_run("a"), make_run("b", num_envs=1000)):
        check_room(run.config, run.env, run.algorithm)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: RL2Config(hidden_size=HUGE), "hidden_size"),
        (lambda: MetaNetConfig(hidden_size=HUGE), "hidden_size"),
        (lambda: MetaNetConfig(num_heads=HUGE), "num_heads"),
        (lambda: MLPConfig(hidden_sizes=(4, HUGE)), "hidden_sizes"),
        (lambda: Session(num_threads=HUGE).apply(), "num_threads"),
        (lambda: envs.make("bernoulli-bandit", num_arms=HUGE), "num_arms"),
    ],
)
def test_sizes_have_an_upper_bound(make, field, sentence):
    with pytest.raises(InputError) as error:
        make()
    assert sentence(error).startswith(f"{field} must ")


def out_of_memory(*args):
    torch.empty(10**14)


def test_a_start_without_memory_leaves_no_folder(script, monkeypatch, sentence, tmp_path):
    monkeypatch.setattr(loop, "collect", out_of_memory)
    result = script("train", "maml-point", "--run-dir", tmp_path / "run", *TINY)
    assert result.status == 1
    assert "400,000.0 GB" in sentence(result.err)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_was_there_keeps_what_it_held(script, monkeypatch, sentence, tmp_path, files):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    monkeypatch.setattr(loop, "collect", out_of_memory)
    assert script("train", "maml-point", "--run-dir", tmp_path / "run", *TINY).status == 1
    assert files(tmp_path) == {"run": None, "run/notes.txt": b"mine"}


def test_what_was_trained_before_is_kept(script, monkeypatch, sentence, tmp_path):
    collect, left = loop.collect, iter(range(2))
    monkeypatch.setattr(loop, "collect", lambda run: collect(run) if next(left, None) is not None else out_of_memory())
    result = script("train", "maml-point", "--run-dir", tmp_path / "run", *TINY)
    assert result.status == 1
    sentence(result.err)
    assert loop.Run.open(tmp_path / "run").iteration == 2


def test_an_evaluation_without_memory_says_so(script, trained, sentence, files):
    before = files(trained)
    result = script("evaluate", trained, "--num-envs", 10**12)
    assert result.status == 1
    assert "There is not enough memory" in sentence(result.err)
    assert files(trained) == before


@pytest.mark.parametrize(
    "act",
    [
        lambda: torch.zeros(10**24),
        lambda: torch.zeros(10**13),
        lambda: torch.zeros(10**12, 10**12),
        lambda: torch.arange(10**24),
        lambda: np.zeros(10**14),
        lambda: np.zeros(10**24),
        lambda: np.zeros((10**12, 10**12)),
        lambda: [1] * 10**24,
    ],
    ids=range(8),
)
def test_errors_of_memory_are_known(act, sentence):
    with pytest.raises(Exception) as error:
        act()
    sentence(f"{too_large(error.value)}.")


@pytest.mark.parametrize("act", [lambda: math.exp(1000), lambda: torch.zeros(2) + torch.zeros(3), lambda: 1 / 0])
def test_other_errors_are_none(act):
    with pytest.raises(Exception) as error:
        act()
    assert too_large(error.value) is None
