"""What reference policies earn, for a Python user."""

from __future__ import annotations

import math

import pytest

import envs
from envs.errors import InputError
from metarl.evaluation.references import ReferencesConfig, reference_returns


def test_returns_and_their_standard_errors():
    env = envs.make("bernoulli-bandit")
    found = reference_returns(env, ReferencesConfig(num_tasks=400))
    assert set(found) == set(env.references())
    mean, error = found["random"]
    assert abs(mean - env.horizon / 2) < 4 * error and 0 < error < 0.5
    assert math.isnan(reference_returns(env, ReferencesConfig(num_tasks=1))["random"][1])


def test_what_makes_no_sense_is_named():
    with pytest.raises(InputError, match="num_episodes"):
        reference_returns(envs.make("point"), ReferencesConfig(num_episodes=0))
