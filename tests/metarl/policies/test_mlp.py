"""Policies without a memory."""

from __future__ import annotations

import pytest
import torch
from small_policies import ACTIONS, setup
from torch import nn

from metarl.learning import losses
from metarl.learning.linearize import linearize
from metarl.policies.mlp import ModulePolicy


@pytest.mark.parametrize("head", ACTIONS)
def test_a_module_policy_with_the_same_weights_is_the_same_policy(head):
    policy, params, inputs, old, (action, advantage, mask), _ = setup(head)
    sizes = policy.sizes
    module = nn.Sequential(nn.Linear(sizes[0], sizes[1]), nn.Tanh(), nn.Linear(sizes[1], sizes[2]), nn.Tanh(),
                           nn.Linear(sizes[2], sizes[3])).double()  # fmt: skip
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
