"""Options of a session: --graphs and --compile where they do not apply, and opening a run."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

import envs
from envs.errors import InputError
from metarl.algorithms.sb3_ppo import SB3PPO, SB3PPOConfig
from metarl.cli.session import Session, TrainSession, check_recordable
from metarl.policies.mlp import MLPConfig
from metarl.training.config import make_algorithm
from metarl.training.presets import preset


def test_graphs_are_refused_where_there_are_none():
    env, generator = envs.make("point", horizon=5), Generator().manual_seed(0)
    algorithm = make_algorithm(preset("maml-point"), env, generator)
    with pytest.raises(InputError, match="on the CPU; leave it out"):
        TrainSession(graphs=True).speed_up(algorithm, env)
    with pytest.raises(InputError, match="--compile is for policies with a memory"):
        TrainSession(compile=True).speed_up(algorithm, env)
    TrainSession().speed_up(algorithm, env)
    check_recordable(algorithm, env)
    assert not algorithm.graphs.record
    with pytest.raises(InputError, match="leave --graphs out"):
        check_recordable(SB3PPO(SB3PPOConfig(), env, MLPConfig(), generator), env)
    env = envs.make("half-cheetah-vel", horizon=5)
    with pytest.raises(InputError, match="physics of a locomotion family"):
        check_recordable(algorithm, env)


def test_without_a_compiler_one_sentence_says_so(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("No working C++ compiler found\nand more")

    monkeypatch.setattr(torch, "compile", broken)
    env = envs.make("point", horizon=5)
    algorithm = make_algorithm(preset("rl2-point"), env, Generator().manual_seed(0))
    with pytest.raises(InputError, match=r"such as g\+\+ on the CPU: No working C\+\+ compiler found$"):
        TrainSession(compile=True).speed_up(algorithm, env)


def test_a_run_is_opened_where_the_session_computes(trained):
    run = Session(device="cpu", num_threads=1).open(trained)
    assert run.iteration == 3 and not run.is_new and run.device.type == "cpu"
    with pytest.raises(InputError, match="leave --engine out"):
        Session(device="cpu", num_threads=1, engine="mujoco").open(trained)
