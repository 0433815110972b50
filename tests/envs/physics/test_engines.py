"""An engine that does not fit or is missing."""

from __future__ import annotations

import sys

import mujoco
import pytest
import torch
from robots import generator, walk

import envs
from envs.physics.engines import make_physics


def refusal(call, sentence) -> str:
    with pytest.raises(envs.InputError) as caught:
        call()
    return sentence(caught)


def test_an_engine_that_does_not_fit_is_refused(sentence):
    on_cuda = refusal(lambda: make_physics("half_cheetah", 5, "mujoco", torch.device("cuda")), sentence)
    assert on_cuda.startswith("Engine 'mujoco' computes on the CPU; use --device cpu with it")
    unknown = refusal(lambda: envs.make("ant-vel", engine="mujco"), sentence)
    assert unknown.startswith("Unknown engine 'mujco'. Did you mean 'mujoco'?")


def test_a_missing_mujoco_is_said(monkeypatch, sentence):
    env = envs.make("ant-vel")
    task = env.sample_tasks(1, generator())
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "mujoco.batch", None)
        said = refusal(lambda: walk(env, task), sentence)
        assert said.startswith(f"MuJoCo {mujoco.__version__} has no mujoco.batch; install 3.17 or newer")
    monkeypatch.setitem(sys.modules, "mujoco", None)
    assert refusal(lambda: envs.make("ant-vel"), sentence).startswith("MuJoCo is missing here")
