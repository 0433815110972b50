"""Commands that make the same runs."""

from __future__ import annotations

import dataclasses
import json
import shlex

import pytest

import envs
from metarl.study.reproduce import evaluate_command, train_command
from metarl.study.runs import read_run
from metarl.training.config import from_dict
from metarl.training.presets import preset
from metarl.training.run import Run

# --- Commands ----------------------------------------------------------------------------------------------------


def made(path, name, changes, **env_fields):
    """The description of a run as train.py makes it, with an evaluation beside it."""
    config = from_dict(preset(name), changes)
    run = Run(path, name, config, envs.make_config(config.env, config.env_preset, **env_fields))
    run.create()
    return run


@pytest.mark.parametrize(
    ("name", "changes", "env_fields", "options"),
    [
        ("maml-point", {"seed": 3}, {}, "--seed 3"),
        ("maml-point", {"shards": 4}, {}, "--seed 0 --shards 4"),
        (
            "promp-point",
            {"num_iterations": 1, "policy": {"hidden_sizes": (4, 3)}, "algorithm": {"outer": {"outer_lr": 1e-05}}},
            {"horizon": 5},
            "--seed 0 --num-iterations 1 --hidden-sizes 4 3 --outer-lr 1e-05 --env.horizon 5",
        ),
        ("reptile-point", {"algorithm": {"halve_test_lr": False}}, {}, "--seed 0 --no-halve-test-lr"),
        (
            "metanet-gridworld",
            {"policy": {"memory": "ring", "action_heads": 0}, "algorithm": {"num_episodes": 2}},
            {"terminate_at_goal": True},
            "--seed 0 --memory ring --action-heads 0 --num-episodes 2 --env.terminate-at-goal",
        ),
        ("maml-point", {"env": "bernoulli-bandit", "env_preset": "k10-n100"}, {}, None),
        ("maml-point", {"env": "half-cheetah-vel", "env_preset": "finn2017"}, {}, None),
    ],
)
def test_the_command_makes_the_same_configuration(
    tmp_path, script, monkeypatch, write_run, name, changes, env_fields, options
):
    """train.py, given the command, writes the same config.json; it is not let to train."""
    run = made(tmp_path / "here", name, changes, **env_fields)
    evaluation = write_run(name="there") / "evaluation-test.json"
    (run.path / evaluation.name).write_bytes(evaluation.read_bytes())
    words = shlex.split(train_command(read_run(run.path)))
    assert words[:3] == ["python", "scripts/train.py", name]
    assert options is None or words[3:-2] == options.split()
    again = tmp_path / "again"
    assert words[-2:] == ["--run-dir", str(run.path)]
    monkeypatch.setattr("metarl.training.loop.train", lambda run, **options: None)
    result = script("train", *words[2:-1], again)
    assert (result.status, result.err) == (0, "")
    assert (again / "config.json").read_text() == (run.path / "config.json").read_text()


def test_what_train_cannot_make_is_said_in_a_comment(tmp_path, write_run):
    assert train_command(read_run(write_run("my-method"))).endswith("it has no preset my-method.")
    run = made(tmp_path / "run", "maml-point", {})
    (run.path / "evaluation-test.json").write_bytes((write_run() / "evaluation-test.json").read_bytes())
    config = json.loads((run.path / "config.json").read_text())
    config["train"]["policy"] = {"kind": "GRUConfig"}
    (run.path / "config.json").write_text(json.dumps(config))
    command = train_command(read_run(run.path))
    assert command.startswith("# ") and "its policy are not those" in command


def test_a_family_of_ones_own_needs_its_module_and_all_its_fields(tmp_path, write_run):
    run = made(tmp_path / "run", "maml-point", {})
    (run.path / "evaluation-test.json").write_bytes((write_run() / "evaluation-test.json").read_bytes())
    config = json.loads((run.path / "config.json").read_text())
    config["train"] |= {"env": "slider", "env_preset": "default"}
    config["env"]["config"] = {"horizon": 20, "speed": 0.2}
    (run.path / "config.json").write_text(json.dumps(config))
    words = "--env slider --env-preset default --env.horizon 20 --env.speed 0.2"
    assert f"{words} --run-dir {run.path} --imports MODULE" in train_command(read_run(run.path))


def test_the_evaluation_is_repeated_with_its_options(write_run):
    run = read_run(write_run())
    assert evaluate_command(run).endswith("maml-point-0 --num-tasks 2 --num-envs 4 --num-steps 1")
    usual = dataclasses.replace(run, train={**run.train, "eval_num_tasks": 2, "eval_num_envs": 4})
    assert evaluate_command(usual).endswith("maml-point-0 --num-steps 1")
    path = write_run(scores=[[0.0] * 4] * 2, name="x", split="ood", seed=1)
    other = dataclasses.replace(read_run(path), train=usual.train)
    other.evaluation["seed"] = 7
    assert evaluate_command(other).endswith("x --split ood --seed 7")
    other.evaluation["split"] = "my tasks.json"
    assert evaluate_command(other).endswith("x --tasks 'my tasks.json' --seed 7")
    other.evaluation["references"] = {}
    assert evaluate_command(other).endswith("--seed 7 --no-references")
    refined = read_run(write_run("metanet-point", scores=[[0.0] * 4] * 2, num_episodes=3))
    assert evaluate_command(refined).endswith("metanet-point-0 --num-tasks 2 --num-envs 4 --refine-steps 1")
