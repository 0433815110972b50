"""Evaluation during training: it changes no number of it, repeats itself, and says what adaptation is worth."""

from __future__ import annotations

import json
import math

import pytest
import torch
from bits import bits, metrics

import envs
from metarl.evaluation.held_out import HeldOut
from metarl.training import presets
from metarl.training.config import from_dict
from metarl.training.loop import train, train_iteration
from metarl.training.presets import preset
from metarl.training.run import Run

FEWER = {
    "metanet-gridworld": {"algorithm": {"epochs": 2}},
    "rl2-point": {"algorithm": {"epochs": 2}},
    "pearl-point": {"algorithm": {"num_updates": 2, "num_train_tasks": 4}},
    "varibad-gridworld": {"algorithm": {"epochs": 1}, "policy": {"model_updates": 2}},
    "dpt-dark-room": {"policy": {"num_layers": 1}},
}
"""Steps of methods that take many."""
SMALL = {"seed": 1, "meta_batch_size": 2, "num_envs": 2, "num_iterations": 4, "eval_num_envs": 4}
METHODS = {
    "maml-point": 4,
    "promp-bandit": 4,
    "reptile-gridworld": 4,
    "metanet-gridworld": 4,  # episodes of its trial
    "meta-networks-bandit": 1,
    "rl2-point": 3,
    "varibad-gridworld": 4,
    "dpt-dark-room": 4,
    "pearl-point": 3,
    "sb3-ppo-point": 4,
    "sb3-ppo-informed-bandit": 4,
    "maml-half-cheetah-dir": 4,
}


def make_run(path, name, **fields) -> Run:
    config = from_dict(preset(name), {**SMALL, **FEWER.get(name, {}), **fields})
    run = Run(path, name, config, envs.make_config(config.env, config.env_preset, horizon=6))
    run.create()
    return run


def trained(run: Run, every: int = 0, stop_after: int = 0) -> list[dict]:
    """The lines of metrics.jsonl after training; with `stop_after`, the run is opened again after that iteration."""
    for _ in range(stop_after):
        run.log(train_iteration(run) | HeldOut(run, every, 3)(run))
    if stop_after:
        run.save()
        run = Run.open(run.path)
    train(run, quiet=True, held_out=HeldOut(run, every, 3) if every else None)
    return metrics(run)


def test_each_kind_of_method_is_among_these():
    def kinds(names):
        return {(type(config.algorithm), type(config.policy)) for config in map(preset, names)}

    assert kinds(METHODS) == kinds(f"{method}-point" for method in presets.METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_training_is_the_same_with_it_and_a_resumed_run_plays_the_same(name, tmp_path):
    runs = [make_run(tmp_path / part, name) for part in ("plain", "evaluated", "resumed")]
    plain, evaluated = trained(runs[0]), trained(runs[1], every=2)
    assert bits(runs[1].state_dict()) == bits(runs[0].state_dict())
    keys = [f"eval_return_{k}" for k in range(METHODS[name])]
    assert [[key for key in line if key.startswith("eval")] for line in evaluated] == [[], keys, [], keys]
    assert [{k: v for k, v in line.items() if k not in keys} for line in evaluated] == plain
    assert [evaluated[1][key] for key in keys] != [evaluated[3][key] for key in keys]
    assert trained(runs[2], every=2, stop_after=3) == evaluated


def test_the_numbers_are_mean_returns_on_held_out_tasks_that_all_runs_share(make_run):
    run = make_run(seed=3, num_iterations=2)
    held_out = HeldOut(run, 2, 5)
    train(run, quiet=True, held_out=held_out)
    found = [value for key, value in metrics(run)[-1].items() if key.startswith("eval_return_")]
    generator = envs.task_generator(3, "evaluation after 2")
    stages = run.algorithm.play(run.env, run.config.eval_num_envs, generator, run.algorithm.stages())(
        held_out.task, False
    )
    assert found == pytest.approx([float(stage.returns.mean()) for stage in stages])
    assert torch.equal(HeldOut(make_run("other", seed=4), 1, 5).task.goal, held_out.task.goal)
    for split in ("validation", "test"):
        final = run.env.sample_tasks(5, envs.task_generator(0, split), split)
        assert not torch.isin(held_out.task.goal, final.goal).any(), "evaluate.py should have tasks of its own"


def test_no_goal_that_is_kept_for_tables_is_seen(tmp_path):
    run = make_run(tmp_path / "run", "maml-gridworld", env_preset="varibad-held-out")
    seen, kept = HeldOut(run, 1, 20).task, run.env.sample_tasks(20, envs.task_generator(0, "test"), "test")
    assert not {tuple(goal) for goal in seen.goal.tolist()} & {tuple(goal) for goal in kept.goal.tolist()}


def test_returns_that_are_not_finite_are_said_and_training_goes_on(make_run, sentence, capsys):
    plain, run = make_run("plain"), make_run("run")
    train(plain, quiet=True)
    held_out, play = HeldOut(run, 3, 2), run.algorithm.play

    def spoiled(*args):
        return lambda task, states: [t.map(lambda x: x * math.nan) for t in play(*args)(task, states)]

    run.algorithm.play = spoiled
    capsys.readouterr()
    train(run, quiet=True, held_out=held_out)
    first, second = capsys.readouterr().err.splitlines()
    assert "After iteration 3 " in sentence(first) and "After iteration 6 " in sentence(second)
    assert metrics(run) == metrics(plain)


# --- On the command line -----------------------------------------------------------------------------------------

TINY = ("--num-threads", 1, "--env.horizon", 5, "--meta-batch-size", 2, "--num-envs", 2, "--eval-num-envs", 2)


def evaluations(path) -> dict[int, float]:
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return {line["iteration"]: line["eval_return_3"] for line in lines if "eval_return_3" in line}


def test_train_evaluates_when_asked_and_a_resumed_run_when_asked_again(script, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path, asked = tmp_path / "run", ("--eval-every", 2, "--eval-every-tasks", 3)
    start = ("train", "maml-point", "--run-dir", path, *TINY, "--num-iterations", 3, *asked)
    assert script(*start).status == 0 and evaluations(path).keys() == {2}
    config = json.loads((path / "config.json").read_text())
    assert "eval_every" not in json.dumps(config), "it decides no number of the run"
    assert script("train", "--resume", path, "--num-iterations", 5, *asked).status == 0
    assert script("train", "--resume", path, "--num-iterations", 7).status == 0
    assert evaluations(path).keys() == {2, 4}
    events = EventAccumulator(str(path)).Reload().Scalars("eval/return_3")
    assert {e.step: e.value for e in events} == pytest.approx(evaluations(path))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--eval-every", -1), "eval_every"),
        (("--eval-every", 1, "--eval-every-tasks", 0), "eval_every_tasks"),
        (("--eval-every", 1, "--eval-every-tasks", 10**9), "eval_every_tasks"),
        (("--eval-every-tasks", 5), "--eval-every K"),
    ],
)
def test_senseless_settings_are_refused_in_a_sentence(script, tmp_path, sentence, options, named):
    found = script("train", "maml-point", "--run-dir", tmp_path / "run", *TINY, *options)
    assert found.status == 2 and named in sentence(found.err) and not (tmp_path / "run").exists()
