"""Contextual bandits: the laws of tasks, contexts and rewards."""

import pytest
import torch
from torch import Generator

import envs
from envs.contextual_bandit import State, Task


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def at(context: torch.Tensor) -> State:
    return State(context, torch.full_like(context, -1), torch.zeros(context.shape))


def test_best_arms_are_uniform_and_independent():
    env = envs.make("contextual-bandit", num_contexts=3, num_arms=4)
    best = env.sample_tasks(40_000, generator(1)).best
    counts = torch.zeros(4, 4, 4).index_put((best[:, 0], best[:, 1], best[:, 2]), torch.tensor(1.0), accumulate=True)
    assert (counts / 40_000 - 1 / 64).abs().max() < 0.004


def test_an_arm_pays_where_it_is_the_best_of_the_context():
    env = envs.make("contextual-bandit", num_contexts=2, num_arms=3)
    task = Task(torch.tensor([[2, 0], [1, 1]]))
    context = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1]])
    action = torch.tensor([[2, 0, 2, 0], [1, 2, 0, 1]])
    result = env.step(task, at(context), action, generator())
    assert result.reward.tolist() == [[1, 0, 0, 1], [1, 0, 0, 1]]
    assert torch.equal(result.state.arm, action) and torch.equal(result.state.reward, result.reward)
    assert not result.terminated.any()


def test_rewards_have_the_given_probabilities():
    env = envs.make("contextual-bandit", num_contexts=1, num_arms=2, p_best=0.7, p_other=0.2)
    task, state = Task(torch.tensor([[1]])), at(torch.zeros(1, 20_000, dtype=torch.int64))
    for arm, p in ((0, 0.2), (1, 0.7)):
        reward = env.step(task, state, torch.full((1, 20_000), arm), generator(arm)).reward
        assert set(reward.unique().tolist()) == {0.0, 1.0} and reward.mean().item() == pytest.approx(p, abs=0.015)


def test_contexts_are_uniform_independent_of_the_past_and_seen():
    env = envs.make("contextual-bandit", num_contexts=3)
    task, draws = env.sample_tasks(1, generator()), generator(1)
    state, obs = env.reset(task, 30_000, draws)
    for _ in range(2):
        assert torch.equal(obs.argmax(-1), state.context) and torch.equal(obs.sum(-1), torch.ones(1, 30_000))
        before = state.context
        result = env.step(task, state, torch.zeros_like(before), draws)
        state, obs = result.state, result.obs
    pairs = torch.bincount((3 * before + state.context)[0], minlength=9) / 30_000
    assert (pairs - 1 / 9).abs().max() < 0.01
