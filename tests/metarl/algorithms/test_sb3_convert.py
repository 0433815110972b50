"""Policies from and to Stable-Baselines3: the same outputs on both sides, and one sentence where there are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sb3_models import (
    SMALL,
    UNSUPPORTED,
    assert_same,
    lanes,
    ours,
    some_obs,
    theirs,
)
from stable_baselines3 import A2C, PPO
from torch import Generator, nn

from envs import InputError
from metarl.algorithms.sb3_convert import from_sb3, policy_to_sb3

FAMILIES = {"box": {"family": "point"}, "discrete": {"family": "gridworld", "preset": "varibad"}}


def disturbed(model):
    """The model with parameters as after some training: without the small last layer of the initialization."""
    generator = Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


ARCHITECTURES = [
    {"net_arch": [8, 6]},
    {"net_arch": {"pi": [8, 6], "vf": [4]}, "activation_fn": nn.ReLU},
    {"net_arch": {"vf": [4]}},
    {"net_arch": [7], "activation_fn": nn.ReLU, "log_std_init": -0.7, "ortho_init": False},
    {"net_arch": [7], "share_features_extractor": False},
]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=range(len(ARCHITECTURES)))
@pytest.mark.parametrize("algorithm", [PPO, A2C])
@pytest.mark.parametrize("actions", FAMILIES)
def test_a_round_trip_changes_no_output(algorithm, actions, architecture):
    env = lanes(**FAMILIES[actions])
    model = disturbed(algorithm("MlpPolicy", env, policy_kwargs=architecture, device="cpu", n_steps=8))
    obs = some_obs(env)
    policy = from_sb3(model)
    params = policy.init(Generator())
    assert params.shape == (policy.num_parameters,)
    assert_same(ours(policy, params, obs), theirs(model, obs))
    back = policy_to_sb3(policy, params, env, **SMALL)
    assert_same(theirs(back, obs), theirs(model, obs), 1e-6)  # equal weights may lie otherwise in memory
    np.testing.assert_array_equal(*(m.predict(obs.numpy(), deterministic=True)[0] for m in (back, model)))
    assert torch.equal(from_sb3(back).init(Generator()), params)
    kind = architecture.get("activation_fn", nn.Tanh)
    assert policy.config.activation == {nn.Tanh: "tanh", nn.ReLU: "relu"}[kind]
    assert torch.equal(from_sb3(model.policy).init(Generator()), params), "a policy without its algorithm"


def test_what_is_taken_over_is_a_copy():
    model = disturbed(PPO("MlpPolicy", lanes(), **SMALL))
    policy = from_sb3(model)
    params = policy.init(Generator())
    params += 1
    model.learn(16)
    assert torch.equal(policy.init(Generator()) + 1, params)


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_what_has_no_counterpart_is_refused_in_one_sentence(case, sentence):
    make, words = UNSUPPORTED[case]
    with pytest.raises(InputError) as error:
        from_sb3(make())
    assert words in sentence(error)
