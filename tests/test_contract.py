"""A family that breaks the contract of Env: one sentence names it, the field, what came and what belongs there."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from lines import ELSEWHERE, IN_DESCRIPTION, IN_ROLLOUTS, Line, LineConfig, has, steps

import envs
from envs import InputError
from metarl.algorithms.maml import MAMLConfig
from metarl.algorithms.recurrent_ppo import RecurrentPPOConfig
from metarl.algorithms.sb3_ppo import SB3PPOConfig
from metarl.policies.mlp import MLPConfig
from metarl.policies.rl2 import RL2Config
from metarl.training.config import TrainConfig
from metarl.training.loop import NonFiniteError, train, train_iteration
from metarl.training.run import Run


def small_run(monkeypatch, path, env_class, algorithm=None, policy=None) -> Run:
    monkeypatch.setitem(envs.FAMILIES, "line", envs.Family("line", "metarl/Line-v0", env_class, {"a": LineConfig()}))
    config = TrainConfig(
        env="line",
        env_preset="a",
        num_iterations=1,
        meta_batch_size=4,
        num_envs=2,
        policy=policy or MLPConfig((4,)),
        algorithm=algorithm or MAMLConfig(),
    )
    return Run(path, "maml-point", config, LineConfig())


METHODS = {
    "maml": (MAMLConfig(), MLPConfig((4,))),
    "rl2": (RecurrentPPOConfig(num_episodes=2), RL2Config(8)),
    "sb3-ppo": (SB3PPOConfig(), MLPConfig((4,))),
    "sb3-ppo-informed": (SB3PPOConfig(informed=True), MLPConfig((4,))),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_family_without_fault_is_trained(monkeypatch, tmp_path, method):
    run = small_run(monkeypatch, tmp_path, Line, *METHODS[method])
    envs.check_env(run.env)
    assert train_iteration(run)["iteration"] == 1


@pytest.mark.parametrize("fault", IN_ROLLOUTS)
def test_training_stops_at_the_first_step_and_names_what_is_wrong(monkeypatch, tmp_path, sentence, fault):
    env_class, words = IN_ROLLOUTS[fault]
    run = small_run(monkeypatch, tmp_path, env_class)
    with pytest.raises(InputError) as error:
        train_iteration(run)
    assert "Broken." in sentence(error) and words in sentence(error)


@pytest.mark.parametrize("method", ["rl2", "sb3-ppo", "sb3-ppo-informed"])
@pytest.mark.parametrize("fault", ["rewards in float64", "obs of more numbers", "first obs in float64", "a gym tuple"])
def test_so_does_that_of_other_methods(monkeypatch, tmp_path, sentence, fault, method):
    env_class, words = IN_ROLLOUTS[fault]
    run = small_run(monkeypatch, tmp_path, env_class, *METHODS[method])
    with pytest.raises(InputError) as error:
        train_iteration(run)
    assert "Broken." in sentence(error) and words in sentence(error)


@pytest.mark.parametrize("fault", IN_DESCRIPTION)
def test_what_is_described_wrongly_is_not_made(monkeypatch, tmp_path, sentence, fault):
    env_class, words = IN_DESCRIPTION[fault]
    with pytest.raises(InputError) as error:
        small_run(monkeypatch, tmp_path, env_class)
    assert words in sentence(error)
    with pytest.raises(InputError):
        envs.make("line")


def test_the_scripts_say_it_in_a_sentence(monkeypatch, tmp_path, script, sentence):
    """Exit status 2: what a family returns is its author's. Each is trained without its fault."""
    monkeypatch.chdir(tmp_path)
    train_it = ("maml-point", "--env", "line", "--run-dir", "run", "--num-iterations", 1, "--meta-batch-size", 2)
    for fault, arguments in {
        "one reward for all": ("train", *train_it[:4], "other"),
        "no references": ("evaluate", "run", "--num-tasks", 3),
        "actions without an axis": ("evaluate", "run", "--num-tasks", 3),
        "functions as references": ("list_envs", "--family", "line"),
        "too few tasks": ("diagnose", "run"),
        "half an image": ("record", "run", "--num-tasks", 1),
        "dicts of other fields": ("list_envs", "--family", "line", "--sample", 3),
    }.items():
        run = small_run(monkeypatch, tmp_path / "run", Line)
        if not (tmp_path / "run").exists():
            run.create()
            train(run, quiet=True)
        env_class, words = {**IN_ROLLOUTS, **ELSEWHERE}[fault]
        small_run(monkeypatch, tmp_path / "none", env_class)
        result = script(*arguments)
        said = sentence(result.err)
        assert result.status == 2 and words.split(" = ")[0].split("[480")[0].split(", not")[0] in said, fault


def test_sb3_needs_bounds_of_actions(monkeypatch, tmp_path, sentence):
    env_class = has(action_space=spaces.Box(-np.inf, np.inf, (1,), np.float32))
    with pytest.raises(InputError) as error:
        small_run(monkeypatch, tmp_path, env_class, *METHODS["sb3-ppo"])
    assert "needs bounds of actions, and Broken.action_space is Box(-inf, inf" in sentence(error)
    assert train_iteration(small_run(monkeypatch, tmp_path, env_class))["iteration"] == 1


# --- Numbers that are not finite ---------------------------------------------------------------------------------


def at_third(field, value):
    """A Line that returns `value` in one lane at the third step of each episode."""

    class Broken(Line):
        def reset(self, *args):
            self.steps = 0
            return super().reset(*args)

        def step(self, *args):
            self.steps += 1
            result = super().step(*args)
            if self.steps == 3:
                getattr(result, field)[1, 1:] = value
            return result

    return Broken


@pytest.mark.parametrize("validate", [True, False])  # torch.compile turns it off for the whole process
@pytest.mark.parametrize("method", ["maml", "rl2", "sb3-ppo"])
@pytest.mark.parametrize(("field", "value"), [("reward", math.nan), ("reward", float("inf")), ("obs", math.nan)])
def test_the_environment_is_named_that_brings_a_number_which_is_not_finite(
    monkeypatch, tmp_path, sentence, method, field, value, validate
):
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", validate)
    env_class = at_third(field, value)
    if method == "sb3-ppo":  # which has one lane a task
        env_class = steps(**{field: lambda x: torch.full_like(x, value)})
    run = small_run(monkeypatch, tmp_path, env_class, *METHODS[method])
    before = run.algorithm.params.clone()
    with pytest.raises(NonFiniteError) as error, run.undone_on_error():
        train_iteration(run)
    said = sentence(error)
    assert "Broken" in said and field in said and "finite" in said and "learning rate" not in said
    if method != "sb3-ppo":
        step = 2 if field == "reward" else 3
        assert f"Broken.step() must return finite numbers, and its {field} at step {step} " in said
    assert torch.equal(run.algorithm.params, before)


def test_a_learning_rate_is_named_where_the_policy_is_at_fault(monkeypatch, tmp_path, sentence):
    """Actions are not finite first, and what the environment makes of them is no fault of its."""
    run = small_run(monkeypatch, tmp_path, Line, MAMLConfig(inner_lr=1e38))
    with pytest.raises(NonFiniteError) as error:
        train_iteration(run)
    assert "a smaller learning rate" in sentence(error) and "Line" not in sentence(error)


def test_evaluation_and_diagnosis_name_it_too(monkeypatch, tmp_path, script, sentence):
    run = small_run(monkeypatch, tmp_path / "run", Line)
    run.create()
    train(run, quiet=True)
    small_run(monkeypatch, tmp_path / "none", at_third("reward", math.nan))
    for name, *arguments in (("evaluate", run.path, "--num-tasks", 3), ("diagnose", run.path)):
        result = script(name, *arguments)
        assert result.status == 1 and "Broken.step() must return finite numbers" in sentence(result.err), name
