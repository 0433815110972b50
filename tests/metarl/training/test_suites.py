"""What families ask of every method."""

from __future__ import annotations

import pytest

import envs
from metarl.training.presets import METHODS, preset
from metarl.training.suites import SUITES, families, general, suite_of


def test_general_settings_follow_the_actions_and_the_horizon(arena):
    discrete, box = preset("maml-gaussian-bandit"), preset("maml-arena")
    assert discrete.algorithm.inner_lr > box.algorithm.inner_lr
    assert discrete.algorithm.entropy_coef > 0 == box.algorithm.entropy_coef
    assert box.policy.init_std < 1
    short, long = preset("rl2-gaussian-bandit"), preset("rl2-arena")
    assert short.algorithm.num_episodes > long.algorithm.num_episodes >= 2


def test_an_environment_with_settings_under_another_name_has_these():
    assert preset("maml-bernoulli-bandit") == preset("maml-bandit")


def test_a_family_has_its_own_settings_or_general_ones(arena):
    assert suite_of("bandit") is suite_of("bernoulli-bandit") is SUITES["bandit"]
    assert suite_of("arena") == general("arena")
    assert families()[: len(SUITES)] == list(SUITES) and set(envs.FAMILIES) <= set(families())


@pytest.mark.parametrize(("name", "gamma"), [("repeat-previous-easy", 0.0), ("position-only-pendulum-easy", 0.99)])
def test_a_trial_on_popgym_is_an_episode(name, gamma, monkeypatch):
    pytest.importorskip("popgym")
    monkeypatch.setattr(envs.registry, "FAMILIES", {**envs.FAMILIES})
    algorithm = preset(f"rl2-popgym-{name}").algorithm
    assert (algorithm.num_episodes, algorithm.gamma) == (1, gamma)


def test_metaworld_adapts_to_as_many_episodes_as_its_evaluation_has(monkeypatch):
    pytest.importorskip("metaworld")
    monkeypatch.setattr(envs.registry, "FAMILIES", {**envs.FAMILIES})
    config = preset("maml-metaworld-ml1")
    assert (config.num_envs, config.eval_num_envs, config.algorithm.num_inner_steps) == (10, 10, 1)


@pytest.mark.parametrize("method", METHODS)
def test_evaluations_of_the_gridworld_have_each_goal_equally_often(method):
    config = preset(f"{method}-gridworld")
    goals = envs.make(config.env, config.env_preset).board.goals["test"]
    assert config.eval_num_tasks % len(goals) == 0


@pytest.mark.parametrize("method", [m for m in METHODS if hasattr(preset(f"{m}-gridworld").algorithm, "entropy_until")])
def test_trials_on_the_gridworld_explore_for_most_of_the_run_and_not_to_its_end(method):
    """With a coefficient of 0.02 the entropy was 0.03 nats from halfway on, and nothing moved any more."""
    algorithm = preset(f"{method}-gridworld").algorithm
    halfway = algorithm.entropy_coef * (1 - 0.5 / algorithm.entropy_until)
    assert halfway > 0.03 and algorithm.entropy_until < 1
