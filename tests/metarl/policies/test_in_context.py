"""The transformer over datasets: acting equals training, and what may depend on what."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import trials

from envs import InputError
from metarl.policies.in_context import Dataset, InContextConfig

ENVS = {"board": trials.board, "plane": trials.plane, "arms": lambda: trials.arms(3, 12)}
EPISODE, STEP = (InContextConfig(hidden_size=8, num_layers=2, num_heads=2, grows=g) for g in ("episode", "step"))


@pytest.mark.parametrize("config", [EPISODE, STEP], ids=["episode", "step"])
@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("where", ENVS)
def test_acting_and_training_compute_the_same(where, window, config):
    env = ENVS[where]()
    network = trials.make(env, config)
    network.window = window or network.window
    rows, acted = trials.play(env, network)
    assert trials.same_outputs(network, rows, acted) < 1e-5
    assert acted.action.std() > 0.01
    assert (rows.mask == 0).any() == (where != "arms")


@pytest.mark.parametrize(("config", "seen_from"), [(EPISODE, 12), (STEP, 8)], ids=["episode", "step"])
def test_a_reward_is_seen_from_the_next_episode_or_step_on(config, seen_from):
    env = trials.plane()  # three episodes of six steps
    network = trials.make(env, config)
    rows, _ = trials.play(env, network)
    rows = dataclasses.replace(rows, mask=torch.ones_like(rows.mask))
    reward = rows.inputs.prev_reward.clone()
    reward[2, 8] += 1  # of the transition that step 8 ends
    moved = trials.difference(network, rows.inputs, dataclasses.replace(rows.inputs, prev_reward=reward))
    assert (moved[2, :seen_from] == 0).all() and (moved[2, seen_from:] > 1e-7).all()
    assert (moved[[0, 1, 3, 4, 5]] == 0).all(), "lanes are independent"


@pytest.mark.parametrize("config", [EPISODE, STEP], ids=["episode", "step"])
@torch.no_grad()
def test_what_is_seen_after_an_end_does_not_matter(config):
    network = trials.make(trials.board(), config)
    rows, acted = trials.play(trials.board(), network)
    obs = torch.where(rows.mask.unsqueeze(-1) > 0, rows.obs, float("nan"))
    assert obs.isnan().any()
    other = dataclasses.replace(rows, obs=obs).inputs
    assert torch.equal(trials.outputs(network, other), trials.outputs(network, rows.inputs))
    memory = None
    for t in range(rows.obs.shape[1]):
        found, memory = network.step(other[:, t], memory)
        assert torch.equal(found.action, acted.action[:, t])


def test_only_the_latest_transitions_are_seen():
    env = trials.plane()
    network = trials.make(env, dataclasses.replace(STEP, num_layers=1))
    network.window = 4
    rows, _ = trials.play(env, network)
    rows = dataclasses.replace(rows, mask=torch.ones_like(rows.mask))
    reward = rows.inputs.prev_reward.clone()
    reward[2, 8] += 1
    moved = trials.difference(network, rows.inputs, dataclasses.replace(rows.inputs, prev_reward=reward))[2] > 1e-7
    assert moved.nonzero().flatten().tolist() == [8, 9, 10, 11]


def data(network, num_tasks=2, n=5, q=3, **fields):
    generator = torch.Generator().manual_seed(0)
    obs, after, query = (torch.randn(num_tasks, k, 2, generator=generator) for k in (n, n, q))
    action, optimal = (torch.randn(num_tasks, k, 2, generator=generator) for k in (n, q))
    reward = torch.randn(num_tasks, n, generator=generator)
    size = torch.tensor([[0, 2, 5]] * num_tasks)
    known = torch.ones(num_tasks, n, dtype=torch.bool)
    return dataclasses.replace(Dataset(obs, action, reward, after, known, query, size, optimal), **fields)


@torch.no_grad()
def test_a_query_sees_as_many_transitions_as_it_may_and_no_other_query():
    network = trials.make(trials.plane(), EPISODE)
    given = data(network)
    reward, query = given.reward.clone(), given.query.clone()
    reward[0, 2:] += 1
    query[0, 1] += 1
    before = network.predict(given).mean
    moved = (network.predict(dataclasses.replace(given, reward=reward)).mean - before).abs().amax(-1) > 1e-7
    assert moved.tolist() == [[False, False, True], [False] * 3]
    moved = (network.predict(dataclasses.replace(given, query=query)).mean - before).abs().amax(-1) > 1e-7
    assert moved.tolist() == [[False, True, False], [False] * 3]


@torch.no_grad()
def test_the_order_of_a_dataset_matters_only_through_what_attends_to_what():
    """There are no positions: with one layer, whose transitions are still themselves, no order is seen at all."""
    network = trials.make(trials.plane(), dataclasses.replace(EPISODE, num_layers=1))
    given = data(network, size=torch.full((2, 3), 5))
    order = torch.tensor([3, 1, 4, 0, 2])
    fields = ("obs", "action", "reward", "next_obs", "known")
    other = dataclasses.replace(given, **{name: getattr(given, name)[:, order] for name in fields})
    torch.testing.assert_close(network.predict(other).mean, network.predict(given).mean, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_from_datasets_is_predicted_what_acting_computes_after_as_many_steps():
    env = trials.arms(3, 12)
    network = trials.make(env, STEP, num_episodes=1)
    rows, acted = trials.play(env, network, num_episodes=1)
    known = torch.ones_like(rows.mask[:, 1:], dtype=torch.bool)
    size = torch.arange(12).expand(len(rows), -1)
    past = (x[:, :-1] for x in (rows.obs, rows.action, rows.reward))
    found = network.predict(Dataset(*past, rows.obs[:, 1:], known, rows.obs, size, rows.action)).log_probs
    torch.testing.assert_close(found, acted.action.log_softmax(-1), rtol=1e-5, atol=1e-5)


def test_a_size_that_the_heads_cannot_share_is_refused():
    with pytest.raises(InputError, match="hidden_size"):
        InContextConfig(hidden_size=10, num_heads=4)
