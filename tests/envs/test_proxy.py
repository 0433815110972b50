"""A proxy that overrides nothing changes nothing."""

from __future__ import annotations

import torch
from torch import Generator

import envs
from envs.proxy import Proxy


def test_a_proxy_changes_nothing():
    env = envs.make("bernoulli-bandit")
    env.recordable = False
    proxy, task = Proxy(env), env.sample_tasks(3, Generator().manual_seed(0))
    (_, a), (_, b) = (e.reset(task, 2, Generator().manual_seed(0)) for e in (env, proxy))
    assert torch.equal(a, b) and proxy.observation_space == env.observation_space
    assert not proxy.recordable
    assert proxy.scores(task, env.reset(task, 2, Generator())[0], torch.zeros(3, 10, 2), torch.zeros(3, 10, 2)) == {}
    again = proxy.sample_tasks(3, Generator().manual_seed(0))
    assert torch.equal(again.mean, task.mean) and proxy.task_to_dicts(task) == env.task_to_dicts(task)
