"""A policy with a context vector beside its observation: CAVIA (Zintgraf et al. 2019, section 3).

The vector is the last part of the parameters and starts at 0. Where inner steps move it alone (`adapt="context"`), the
network is shared by all tasks, and a task is described by a few numbers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor

from metarl.policies.distributions import Distribution
from metarl.policies.mlp import MLPConfig, MLPPolicy, Network, Policy, StepInput, make_policy


class ContextPolicy(Policy):
    """An `MLPPolicy` on the observation and a context vector [C], which is a parameter."""

    def __init__(self, observation_space: spaces.Box, action_space: spaces.Space, config: MLPConfig) -> None:
        self.config, self.size = config, config.context_size
        inputs = spaces.Box(-np.inf, np.inf, (observation_space.shape[0] + self.size,), np.float32)
        self.mlp = MLPPolicy(inputs, action_space, config)
        self.tensor_sizes = [*self.mlp.tensor_sizes, self.size]
        self.num_parameters = sum(self.tensor_sizes)
        self.parts = {**self.mlp.parts, "context": slice(self.mlp.num_parameters, self.num_parameters)}

    def init(self, generator: Generator) -> Tensor:
        params = self.mlp.init(generator)
        return torch.cat([params, params.new_zeros(self.size)])

    def bind(self, params: Tensor) -> Network:
        weights, context = params.split([self.mlp.num_parameters, self.size], -1)
        network = self.mlp.bind(weights)

        def with_context(inputs: StepInput, memory: Any = None) -> tuple[Distribution, Any]:
            obs = inputs.obs
            beside = context.view(len(context), *[1] * (obs.dim() - 2), -1).expand(*obs.shape[:-1], -1)
            return network(replace(inputs, obs=torch.cat([obs, beside], -1)), memory)

        return with_context


def make_any_policy(observation_space: spaces.Space, action_space: spaces.Space, config: MLPConfig) -> Policy:
    """`make_policy`, or a `ContextPolicy` where the configuration has a context. Raises `InputError` like that one."""
    plain = make_policy(observation_space, action_space, config)
    if not config.context_size:
        return plain
    assert isinstance(observation_space, spaces.Box)
    return ContextPolicy(observation_space, action_space, config)
