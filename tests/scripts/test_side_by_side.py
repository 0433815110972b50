"""experiments/side_by_side.sh: which runs it makes, without making them."""

import os
import re
import statistics
import subprocess
from pathlib import Path

import pytest

import envs
from metarl.algorithms.maml import MAMLConfig
from metarl.algorithms.recurrent_ppo import RecurrentPPOConfig
from metarl.algorithms.reptile import ReptileConfig
from metarl.training.presets import preset

SCRIPT = Path(__file__).resolve().parents[2] / "experiments/side_by_side.sh"


@pytest.fixture
def side_by_side(tmp_path):
    """Calls the script with a `python` that only writes down its arguments. Returns these and the exit status."""
    log, python = tmp_path / "log", tmp_path / "bin/python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    python.chmod(0o755)

    def call(*arguments, **variables):
        log.write_text("")
        env = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}", **variables}
        result = subprocess.run(["bash", SCRIPT, *map(str, arguments)], env=env, capture_output=True, text=True)
        return log.read_text().splitlines(), result

    return call


def environment_steps(command):
    """What a train.py command collects in all, by its preset and options."""
    name = command.split()[1]
    options = dict(re.findall(r"--([\w-]+) (\S+)", command))
    config, n = preset(name), int(options["num-iterations"])
    steps = config.meta_batch_size * config.num_envs * envs.make(config.env, config.env_preset).horizon
    match config.algorithm:
        case MAMLConfig(num_inner_steps=inner, pretrain_iterations=pretrain) as maml:
            return steps * ((1 + inner) * (n - pretrain) + maml.pretrain_rounds(config.num_envs))
        case ReptileConfig(num_inner_steps=inner):
            return steps * n * inner
        case RecurrentPPOConfig(num_episodes=episodes):
            return steps * n * episodes
    return steps * n


@pytest.mark.parametrize("family", ["bandit", "gridworld", "point", "half-cheetah-vel"])
def test_every_method_has_the_same_budget_and_the_same_evaluation(side_by_side, tmp_path, family):
    commands, result = side_by_side(tmp_path / "runs", family)
    assert result.returncode == 0, result.stderr
    trained = [c for c in commands if "/train.py" in c]
    seeds = 5 if family == "half-cheetah-vel" else 10
    assert len({re.search(r"--run-dir (\S+)", c)[1] for c in trained}) == len(trained) == 9 * seeds
    assert sorted(c.split()[1] for c in trained if " 0 --seed" in c) == sorted(
        seeds * [f"maml-{family}", f"sb3-ppo-scratch-{family}"]
    )
    budgets = {c.split()[1]: environment_steps(c) for c in trained if " 0 --seed" not in c}
    assert len(budgets) == 7
    usual = statistics.median(budgets.values())
    assert all(abs(budget - usual) <= 0.03 * usual for budget in budgets.values()), budgets
    evaluated = [c for c in commands if "/evaluate.py" in c]
    assert len(evaluated) == 9 * seeds
    assert len({re.sub(r"\S*/runs/\S+", "", c) for c in evaluated}) == 1


def test_what_is_there_is_kept_or_resumed(side_by_side, tmp_path):
    done, begun = tmp_path / "runs/maml-bandit-s0", tmp_path / "runs/maml-bandit-s1"
    for run in (done, begun):
        run.mkdir(parents=True)
        (run / "config.json").touch()
    (done / "evaluation-test.json").touch()
    commands, _ = side_by_side(tmp_path / "runs", "bandit", SEEDS="0 1")
    assert {c.split("-s")[-1] for c in commands if "/train.py" in c and "--run-dir" in c} == {"0", "1"}
    assert not [c for c in commands if str(done) in c and "/compare.py" not in c]
    (of_begun,) = [c for c in commands if "/train.py" in c and str(begun) in c]
    assert of_begun.startswith(f"scripts/train.py --resume {begun}")


def test_an_unknown_family_is_refused_before_anything_runs(side_by_side, tmp_path):
    commands, result = side_by_side(tmp_path / "runs", "bandit", "ant")
    assert commands == []
    assert result.returncode == 2
    assert "'ant'" in result.stderr
    assert "half-cheetah-vel" in result.stderr
