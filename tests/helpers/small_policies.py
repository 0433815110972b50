"""Small policies of both kinds of actions, with data on which losses can be computed."""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Generator

from metarl.policies.mlp import MLPConfig, StepInput, make_policy

N, T, E, O = 3, 4, 5, 2  # noqa: E741


ACTIONS = {"gaussian": spaces.Box(-1, 1, (3,)), "categorical": spaces.Discrete(4)}


def setup(head: str, activation: str = "tanh", hidden: tuple[int, ...] = (6, 5)):
    generator = Generator().manual_seed(0)
    action_space = ACTIONS[head]
    policy = make_policy(spaces.Box(-1, 1, (O,)), action_space, MLPConfig(hidden, activation))
    params = policy.init(generator) + 0.3 * torch.randn(N, policy.num_parameters, generator=generator)
    obs = torch.randn(N, T, E, O, generator=generator, dtype=torch.float64)
    zeros = torch.zeros(N, T, E, dtype=torch.float64)
    inputs = StepInput(obs, zeros, zeros, zeros.bool(), zeros + 1)
    distribution, _ = policy.bind(params.double())(inputs, None)
    action = distribution.sample(generator)
    advantage = torch.randn(N, T, E, generator=generator, dtype=torch.float64)
    mask = (torch.rand(N, T, E, generator=generator) < 0.8).double()
    return policy, params.double(), inputs, distribution, (action, advantage, mask), generator
