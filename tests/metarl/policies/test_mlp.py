"""Policies without a memory."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from gymnasium import spaces
from small_policies import ACTIONS, setup
from torch import Generator, nn

from envs import InputError
from metarl.learning import losses
from metarl.learning.linearize import linearize
from metarl.policies.mlp import MLPConfig, ModulePolicy, make_policy


@pytest.mark.parametrize("head", ACTIONS)
def test_a_module_policy_with_the_same_weights_is_the_same_policy(head):
    policy, params, inputs, old, (action, advantage, mask), _ = setup(head)
    sizes = policy.sizes
    layers = [part for i, o in itertools.pairwise(sizes) for part in (nn.Linear(i, o), nn.Tanh())]
    module = nn.Sequential(*layers[:-1]).double()
    layers, free = policy.unflatten(params)
    vector = torch.cat([part.flatten(1) for layer in layers for part in (layer[..., :-1], layer[..., -1])] + [free], -1)
    other = ModulePolicy(module, ACTIONS[head])
    assert other.num_parameters == policy.num_parameters
    distribution, _ = other.bind(vector)(inputs, None)
    torch.testing.assert_close(distribution.log_prob(action), old.log_prob(action))

    def objective(d):
        return losses.policy_gradient(d, action, advantage, mask)

    ours, theirs = (
        linearize(policy, params, inputs).gradient(objective),
        linearize(other, vector, inputs).gradient(objective),
    )
    torch.testing.assert_close(ours.square().sum(-1), theirs.square().sum(-1))


def test_fresh_weights_are_uniform_within_glorots_bound_and_biases_zero():
    space = spaces.Box(-1, 1, (3,))
    policy = make_policy(space, ACTIONS["gaussian"], MLPConfig((200, 100), init_std=0.5))
    layers, free = policy.unflatten(policy.init(Generator().manual_seed(0)).unsqueeze(0))
    for layer in layers:
        weight, bound = layer[0, :, :-1], math.sqrt(6 / sum(layer[0, :, :-1].shape))
        assert weight.abs().max() <= bound and float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.15)
        assert torch.all(layer[..., -1] == 0)
    torch.testing.assert_close(free, torch.full_like(free, math.log(0.5)))


def test_a_module_policy_starts_where_its_module_is_with_a_deviation_of_1():
    module = nn.Linear(3, ACTIONS["gaussian"].shape[0])
    fresh = ModulePolicy(module, ACTIONS["gaussian"]).init(Generator())
    params, free = fresh.tensor_split([sum(p.numel() for p in module.parameters())])
    assert torch.equal(params, torch.cat([p.flatten() for p in module.parameters()])) and torch.all(free == 0)
    assert not params.requires_grad


@pytest.mark.parametrize(
    ("observation", "action"),
    [
        (spaces.Discrete(3), spaces.Discrete(2)),
        (spaces.Box(-1, 1, (3, 3)), spaces.Discrete(2)),
        (spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2, 2))),
        (spaces.Box(-1, 1, (3,)), spaces.MultiBinary(2)),
    ],
)
def test_spaces_that_are_no_vectors_are_refused(observation, action):
    with pytest.raises(InputError, match="space"):
        make_policy(observation, action, MLPConfig())
