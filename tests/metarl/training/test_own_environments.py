"""Runs on a Gymnasium environment of one's own, and on tasks of one's own."""

from __future__ import annotations

import json

import gymnasium
import pytest
import torch
from gymnasium import spaces
from walkers import Faulty, Walk, apply, returns

import envs
from envs import EnvironmentFault, InputError
from metarl.evaluation.held_out import HeldOut
from metarl.training.config import from_dict
from metarl.training.loop import train
from metarl.training.presets import preset
from metarl.training.run import Run
from metarl.training.start import new_run

SMALL = {"meta_batch_size": 2, "num_envs": 2, "eval_num_envs": 2, "checkpoint_every": 1}


@pytest.fixture
def walk_run(tmp_path):
    """`walk_run(method, make)`: a new run on the family of an environment."""

    def make_run(method="maml", make=Walk, num_iterations=2, name="run", **fields) -> Run:
        envs.FAMILIES.pop("walk", None)
        tasks = {"speed": spaces.Box(0.5, 1.5)}
        envs.register("walk", envs.from_gymnasium(make, tasks, apply, horizon=5))
        config = from_dict(preset(f"{method}-walk"), {**SMALL, "num_iterations": num_iterations, **fields})
        return new_run(f"{method}-walk", tmp_path / name, config, envs.make_config("walk", workers=1))

    yield make_run
    envs.FAMILIES.pop("walk", None)
    gymnasium.registry.pop("metarl/Walk-v0", None)


def parameters(run: Run) -> torch.Tensor:
    return run.algorithm.params.clone()


@pytest.mark.parametrize("method", ["maml", "rl2", "sb3-ppo"])
def test_a_run_goes_on_bit_for_bit(walk_run, method):
    whole = walk_run(method, num_iterations=3, name="whole")
    train(whole, quiet=True, held_out=HeldOut(whole, 2, 2))
    part = walk_run(method, num_iterations=3, name="part")
    for _ in range(3):
        calls = []

        def stop(run, calls=calls):
            calls.append(run.iteration)
            raise KeyboardInterrupt

        if part.iteration < 2:
            with pytest.raises(KeyboardInterrupt):
                train(part, quiet=True, held_out=stop)
        part = Run.open(part.path)
        train(part, quiet=True)
    assert part.iteration == 3 and torch.equal(parameters(part), parameters(whole))


class Tires(Walk):
    """Fails once it has taken a number of steps in all."""

    steps = 0

    def step(self, action):
        self.steps += 1
        if self.steps > 30:
            raise RuntimeError("no battery")
        return super().step(action)


def test_a_fault_ends_a_run_and_keeps_it(walk_run, sentence):
    run = walk_run(make=Tires, num_iterations=50)
    with pytest.raises(EnvironmentFault) as error:
        train(run, quiet=True)
    assert "Tires.step() raised RuntimeError: no battery, on the task speed" in sentence(error)
    assert f"{run.path} keeps the state after iteration {run.iteration}" in str(error.value)
    assert 0 < run.iteration == Run.open(run.path).iteration


@pytest.mark.parametrize("make", [Faulty, returns(reward=float("nan"))])
def test_a_fault_is_told_before_training_starts(walk_run, tmp_path, make):
    with pytest.raises(EnvironmentFault, match="on the task speed"):
        walk_run(make=make)
    assert not (tmp_path / "run").exists()


def test_tasks_of_ones_own_are_trained_on_and_kept(walk_run, tmp_path):
    file = tmp_path / "tasks.json"
    file.write_text(json.dumps([{"speed": 0.5}, {"speed": 1.5}]))
    run = walk_run(train_tasks=str(file))
    assert sorted(run.meta_batch().speed.tolist()) == [0.5, 1.5]
    train(run, quiet=True)
    file.unlink()
    again = Run.open(run.path)
    assert torch.equal(again.train_tasks.speed, run.train_tasks.speed)
    assert sorted(again.meta_batch().speed.tolist()) == [0.5, 1.5]


def test_tasks_that_do_not_fit_are_refused(walk_run, tmp_path, sentence):
    file = tmp_path / "tasks.json"
    file.write_text('[{"speed": 0.5}, {"speed": 9}]')
    with pytest.raises(InputError) as error:
        walk_run(train_tasks=str(file))
    assert "Task 2" in sentence(error) and "'speed' must lie in" in str(error.value)
