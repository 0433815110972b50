"""Policies on one task: what a gradient step learns from, and what a memory sees of episodes that end early."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import trials
from torch import Generator

import envs
from metarl.algorithms.base import Setup
from metarl.algorithms.maml import MAMLConfig
from metarl.algorithms.reptile import ReptileConfig
from metarl.algorithms.task_policy import Episode, MemoryPolicy, trajectory
from metarl.policies.cells import CELLS
from metarl.policies.metanet import MetaNetConfig
from metarl.policies.mlp import MLPConfig
from metarl.policies.rl2 import RL2Config

NETWORKS = {
    **{cell: RL2Config(8, cell) for cell in CELLS},
    **{m: MetaNetConfig(hidden_size=8, num_heads=2, memory=m) for m in ("delta", "linear", "full", "ring", "none")},
}


def episodes_of(played):
    """The valid steps of each episode of a rollout of one task [1, T, E]."""
    lengths = played.mask[0].sum(0).int().tolist()
    columns, most = (played.obs[0], played.action[0], played.reward[0]), played.mask.shape[1]
    return [Episode(*(x[:n, k] for x in columns), n < most, None) for k, n in enumerate(lengths)]


@pytest.mark.parametrize("config", [MAMLConfig(), ReptileConfig(inner_optimizer="adam")], ids=["maml", "reptile"])
def test_a_gradient_step_learns_from_episodes_what_it_learns_from_their_rollout(config):
    env, generator = trials.board(), Generator().manual_seed(0)
    algorithm = config.make(Setup(env, MLPConfig((8,)), generator))
    task = env.sample_tasks(1, generator)
    played = algorithm.play(env, 5, generator, algorithm.stages(1))(task, False)
    assert (played[0].mask == 0).any()
    policy, params = algorithm.task_policy(env, 1, 2, generator), algorithm.inner.params.unsqueeze(0)
    memory = None
    for k, t in enumerate(played):
        policy.learn(episodes_of(t))
        params, memory = algorithm.inner.adapters(2)[k](params, memory, t)
        torch.testing.assert_close(policy.params, params, rtol=1e-4, atol=1e-6)


def test_episodes_are_padded_to_the_horizon_or_the_longest():
    short, long = (Episode(torch.ones(n, 2), torch.ones(n), torch.ones(n), True, None) for n in (1, 3))
    for horizon, length in ((2, 3), (4, 4)):
        t = trajectory([short, long], horizon)
        assert t.obs.shape == (1, length, 2, 2) and t.mask[0].sum(0).tolist() == [1, 3]
        assert torch.equal(t.reward, t.mask) and t.first.sum() == 2


@pytest.mark.parametrize("board", [trials.board, trials.plane], ids=["discrete", "continuous"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_memory_sees_what_it_saw_in_training_when_episodes_end_early(name, board):
    env = board()
    network = trials.make(env, NETWORKS[name])
    rows, acted = trials.play(env, network, tasks=3, lanes=2)
    expected = network.distribution(acted).log_prob(rows.action)  # [B, T]
    times = [torch.nonzero(mask).flatten().tolist() for mask in rows.mask > 0]
    assert len({len(t) for t in times}) > 1, "lanes should be unequally far"
    policy = MemoryPolicy(network, len(times))
    for k in range(min(map(len, times))):
        now = torch.tensor([t[k] for t in times])
        before = torch.tensor([t[k - 1] for t in times])
        lanes = torch.arange(len(times))
        inputs = rows.inputs[lanes, now]
        if k:
            inputs = dataclasses.replace(
                inputs, prev_action=rows.action[lanes, before], prev_reward=rows.reward[lanes, before]
            )
        with torch.no_grad():
            found = policy.act(inputs.map(lambda x: x.unsqueeze(0))).log_prob(rows.action[lanes, now].unsqueeze(0))
        torch.testing.assert_close(found[0], expected[lanes, now].detach(), rtol=1e-4, atol=1e-4)


def test_a_method_that_only_plays_says_so(sentence):
    env = envs.make("point", horizon=3)
    algorithm = MAMLConfig().make(Setup(env, MLPConfig((4,)), Generator()))
    type(algorithm).inner, inner = None, type(algorithm).inner
    try:
        with pytest.raises(envs.InputError) as error:
            algorithm.task_policy(env, 1, 1, Generator())
        assert "MAML" in sentence(error)
    finally:
        type(algorithm).inner = inner
