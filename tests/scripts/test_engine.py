"""Locomotion through the scripts: which engine computes, what is logged, and what a wrong choice is told."""

from __future__ import annotations

import json
import sys

import pytest

SMALL = ("--meta-batch-size", 2, "--num-envs", 2, "--env.horizon", 6, "--hidden-sizes", 4, "--eval-num-tasks", 2)


def losses(run):
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def cheetah(script, tmp_path):
    """`cheetah(name, *arguments)` trains HalfCheetah for moments; returns what the script printed and the folder."""

    def train(name, *arguments):
        return script(
            "train", "maml-half-cheetah-vel", *SMALL, "--run-dir", tmp_path / name, *arguments
        ), tmp_path / name

    return train


def test_a_run_remembers_its_engine_and_counts_divergences(cheetah):
    result, run = cheetah("run", "--num-iterations", 2, "--engine", "mujoco")
    assert (result.status, result.err) == (0, "")
    assert json.loads((run / "config.json").read_text())["env"]["config"]["engine"] == "mujoco"
    assert [json.loads(line)["diverged"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [0.0, 0.0]


def test_a_resumed_run_goes_on_bit_for_bit(cheetah, script):
    _, whole = cheetah("whole", "--num-iterations", 4)
    _, halved = cheetah("halved", "--num-iterations", 2)
    assert script("train", "--resume", halved, "--num-iterations", 4).status == 0
    assert losses(halved) == losses(whole)
    assert len(set(losses(whole))) == 4


def test_evaluation_takes_the_runs_number_of_tasks(cheetah, script):
    _, run = cheetah("run", "--num-iterations", 1, "--eval-num-envs", 2)
    assert script("evaluate", run, "--engine", "mujoco", "--num-steps", 1).status == 0
    assert json.loads((run / "evaluation-test.json").read_text())["num_tasks"] == 2


@pytest.mark.parametrize("arguments", [("--engine", "mujco"), ("--env.engine", "mujco")])
def test_an_unknown_engine_is_named(cheetah, arguments):
    result, run = cheetah("run", *arguments)
    assert result.status != 0 and not run.exists()
    assert "Unknown engine 'mujco'. Did you mean 'mujoco'?" in result.err


def test_a_family_without_physics_has_no_engine(script, tmp_path, sentence):
    result = script("train", "maml-point", "--engine", "mujoco", "--run-dir", tmp_path / "run")
    assert result.status != 0 and not (tmp_path / "run").exists()
    assert "Only locomotion families have a physics engine" in sentence(result.err)


def test_without_warp_the_sentence_names_the_extra(cheetah, monkeypatch, sentence):
    monkeypatch.setitem(sys.modules, "warp", None)
    monkeypatch.delitem(sys.modules, "envs.physics.warp", raising=False)
    result, run = cheetah("run", "--engine", "warp")
    assert result.status != 0 and not run.exists()
    assert 'pip install "metarl-toolkit[warp]"' in sentence(result.err)
