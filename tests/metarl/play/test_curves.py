"""What others earn on the same task."""

from __future__ import annotations

import pytest

import envs
from metarl.agent.load import load
from metarl.play.curves import curves
from metarl.training.config import from_dict
from metarl.training.presets import preset
from metarl.training.run import Run


def test_references_and_the_policy_have_a_value_for_each_stage_within_their_interval(runs):
    found = curves(load(runs / "memory"), {"goal": [0, 1]})
    assert found["references"].keys() >= {"random", "shortest path"}
    for curve in (found["policy"], *found["references"].values()):
        assert len(curve["mean"]) == 3
        assert all(a <= b <= c for a, b, c in zip(curve["low"], curve["mean"], curve["high"], strict=True))
    assert found["references"]["shortest path"]["mean"] == pytest.approx([6.0] * 3)  # a step away, 6 rewards of 1


def test_references_of_a_gradient_method_have_one_value(runs):
    found = curves(load(runs / "gradient"), {"goal": [0.3, 0.0]})
    assert len(found["policy"]["mean"]) == 4 and len(found["references"]["random"]["mean"]) == 1


def test_a_trial_of_one_episode_has_the_mean_reward_after_each_step(tmp_path):
    config = from_dict(preset("rl2-bandit"), {"num_envs": 2, "num_iterations": 1})
    run = Run(tmp_path / "run", "rl2-bandit", config, envs.make_config("bernoulli-bandit", horizon=5))
    run.create()
    run.save()
    found = curves(load(tmp_path / "run"), {"mean": [0.0, 0.0, 1.0, 0.0, 0.0]})
    assert found["references"]["clairvoyant"]["mean"] == [1.0] * 5
    assert len(found["policy"]["mean"]) == 5
