"""Traced steps of networks."""

import pytest
import torch
import trials

from metarl.backend.traced import traced_step
from metarl.policies.metanet import MetaNetConfig
from metarl.policies.mlp import StepInput
from metarl.policies.rl2 import RL2Config


def inputs(env, network, lanes=4):
    shape = (lanes,)
    obs = torch.rand(lanes, network.raw_size)
    return StepInput(
        obs, torch.randint(2, shape), torch.rand(shape), torch.zeros(shape, dtype=torch.bool), torch.ones(shape)
    )


@torch.no_grad()
@pytest.mark.parametrize("config", [RL2Config(), MetaNetConfig(), MetaNetConfig(memory="full")])
@pytest.mark.parametrize("make_env", [trials.arms, trials.board])
def test_a_trace_gives_the_numbers_of_the_plain_step_also_after_parameters_change(make_env, config):
    env = make_env()
    network = trials.make(env, config)
    for _ in range(2):
        seen = [inputs(env, network) for _ in range(5)]
        step, mine, memory = traced_step(network), None, None
        for x in seen:
            found, mine = step(x, mine)
            expected, memory = network.step(x, memory)
            assert torch.equal(found.action, expected.action) and torch.equal(found.value, expected.value)
        for parameter in network.parameters():
            parameter.mul_(1.5)
