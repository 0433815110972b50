"""The policies that come with the package earn what their evaluations say, and are opened by name."""

from __future__ import annotations

import math
import shutil

import pytest
import torch

import metarl
from envs import InputError
from metarl.agent import pretrained
from metarl.training.presets import preset_names

NAMES = sorted(metarl.pretrained())


@pytest.mark.parametrize("name", NAMES)
def test_each_earns_what_its_evaluation_says(name):
    """The mean of a hundred tasks of its own draw is within four standard errors of that of the evaluation."""
    policy, run = metarl.pretrained()[name], metarl.load(name).run
    steps = {} if policy.evaluation["stages"]["num_episodes"] else {"num_steps": 1}
    found = metarl.evaluate(run, num_tasks=100, seed=1, references=False, **steps)["adaptation"]["mean"]
    recorded = policy.evaluation["adaptation"]
    for mean, expected, std in zip(found, recorded["mean"], recorded["std"], strict=False):
        assert mean == pytest.approx(expected, abs=4 * std / math.sqrt(100) + 1e-9), name
    assert (run.iteration, run.env_steps, run.config.seed) == (policy.iteration, policy.env_steps, policy.seed)
    assert run.iteration == run.config.num_iterations, "whole runs ship"


@pytest.mark.parametrize("name", NAMES)
def test_each_is_small_and_says_what_it_is(name):
    policy = metarl.pretrained()[name]
    files = {path.name: path.stat().st_size for path in policy.path.iterdir()}
    assert files.keys() == {"config.json", "checkpoint.pt", "evaluation.json"} and sum(files.values()) < 600_000
    assert name in preset_names() and metarl.load(name).run.preset == name
    low, high = policy.evaluation["adaptation"]["mean_ci95"][0]
    assert low <= policy.returns[0] <= high and policy.evaluation["split"] == "test"
    assert str(policy).startswith(f"{name}: ") and policy.env in str(policy)


def test_all_of_them_are_a_few_megabytes():
    assert sum(f.stat().st_size for p in metarl.pretrained().values() for f in p.path.iterdir()) < 8_000_000


def test_an_unknown_name_is_refused_with_the_nearest(sentence):
    with pytest.raises(InputError) as error:
        metarl.load(NAMES[0][:-1])
    assert NAMES[0] in str(error.value)
    with pytest.raises(InputError) as error:
        metarl.load("nothing-like-it")
    assert "nothing-like-it" in sentence(error)


def test_what_is_on_the_disk_comes_first(tmp_path, monkeypatch, make_run):
    run = make_run(NAMES[0])
    run.save()
    monkeypatch.chdir(tmp_path)
    assert metarl.load(NAMES[0]).run.preset == "maml-point"
    shutil.rmtree(run.path)
    assert metarl.load(NAMES[0]).run.preset == NAMES[0]


def test_a_run_ships_without_its_optimizer(tmp_path, trained, sentence):
    with pytest.raises(InputError) as error:
        pretrained.ship(trained, tmp_path / "shipped")
    assert "metarl evaluate" in sentence(error)
    metarl.evaluate(trained, num_tasks=4, output=trained / "evaluation-test.json")
    path = pretrained.ship(trained, tmp_path / "shipped")
    first = {file.name: file.read_bytes() for file in path.iterdir()}
    assert {file.name: file.read_bytes() for file in pretrained.ship(trained, tmp_path / "shipped").iterdir()} == first
    there, here = metarl.load(trained).run, metarl.load(path).run
    assert torch.equal(there.algorithm.params, here.algorithm.params) and there.description == here.description
    with pytest.raises(InputError) as error:
        (trained / "evaluation-test.json").write_text('{"iteration": 1}')
        pretrained.ship(trained, tmp_path / "shipped")
    assert "iteration 1" in sentence(error)


@pytest.mark.parametrize("method", ["promp", "rl2"])
def test_what_adam_remembers_does_not_ship(tmp_path, script, method):
    options = ["--num-iterations", 1, "--meta-batch-size", 2, *(["--hidden-size", 8] if method == "rl2" else [])]
    assert script("train", f"{method}-bandit", "--run-dir", tmp_path / "run", *options).status == 0
    metarl.evaluate(tmp_path / "run", num_tasks=4, output=tmp_path / "run/evaluation-test.json")
    path = pretrained.ship(tmp_path / "run", tmp_path / "shipped")
    assert (path / "checkpoint.pt").stat().st_size < 0.7 * (tmp_path / "run/checkpoint.pt").stat().st_size
    assert torch.equal(metarl.load(path).run.algorithm.params, metarl.load(tmp_path / "run").run.algorithm.params)
