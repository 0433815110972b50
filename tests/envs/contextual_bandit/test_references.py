"""References of the contextual bandit against hand-computed and exact returns."""

import itertools

import pytest
import torch
from torch import Generator

import envs
from envs.contextual_bandit import State, Task
from envs.contextual_bandit.references import ideal_return
from envs.core import Transition


def returns(env, name: str, task: Task, num_envs: int) -> torch.Tensor:
    """Sums of rewards [N, E] of an episode under a reference."""
    draws, reference = Generator().manual_seed(0), env.references()[name]
    memory, (state, _) = reference.start(task, num_envs, draws), env.reset(task, num_envs, draws)
    rewards = []
    for _ in range(env.horizon):
        action = reference.act(task, state, memory, draws)
        result = env.step(task, state, action, draws)
        transition = Transition(state, action, result.reward, result.state, result.terminated)
        memory, state = reference.observe(task, memory, transition), result.state
        rewards.append(result.reward)
    return torch.stack(rewards).sum(0)


def test_the_exact_return_of_small_cases_by_hand():
    assert ideal_return(1, 2, 3) == pytest.approx(0.5 + 1 + 1)
    assert ideal_return(1, 5, 7) == pytest.approx(0.2 + 0.4 + 0.6 + 0.8 + 1 + 1 + 1)
    sequences = itertools.product(range(3), repeat=4)
    by_sequence = [sum(min(seen[: t + 1].count(seen[t]) / 2, 1) for t in range(4)) for seen in sequences]
    assert ideal_return(3, 2, 4) == pytest.approx(sum(by_sequence) / 3**4)
    assert ideal_return(20, 5, 100) == pytest.approx(62.517, abs=1e-3)


@pytest.mark.parametrize(("contexts", "arms", "steps"), [(20, 5, 100), (3, 8, 30)])
def test_the_exact_posterior_earns_the_largest_expected_return(contexts, arms, steps):
    env = envs.make("contextual-bandit", num_contexts=contexts, num_arms=arms, horizon=steps)
    earned = returns(env, "exact posterior", env.sample_tasks(2000, Generator().manual_seed(1)), 1)
    error = earned.std().item() / len(earned) ** 0.5
    assert earned.mean().item() == pytest.approx(ideal_return(contexts, arms, steps), abs=4 * error)


def test_the_exact_posterior_weighs_rewards_that_come_by_chance():
    env = envs.make("contextual-bandit", num_contexts=2, num_arms=3, p_best=0.8, p_other=0.4)
    task, reference = env.sample_tasks(1, Generator().manual_seed(0)), env.references()["exact posterior"]
    memory = reference.start(task, 1, Generator())
    odds = torch.full((3,), 1 / 3).log()
    for arm, reward in ((0, 1.0), (0, 0.0), (2, 1.0), (1, 0.0), (0, 1.0)):
        here = State(torch.tensor([[1]]), torch.tensor([[0]]), torch.zeros(1, 1))
        done = torch.zeros(1, 1, dtype=torch.bool)
        transition = Transition(here, torch.tensor([[arm]]), torch.tensor([[reward]]), here, done)
        memory = reference.observe(task, memory, transition)
        for k in range(3):
            chance = 0.8 if k == arm else 0.4
            odds[k] += torch.tensor(chance if reward else 1 - chance).log()
    found = memory.log_odds.view(2, 3)
    assert torch.allclose(found[1].softmax(0), odds.softmax(0)) and not found[0].any()
    assert reference.act(task, here, memory, Generator()).item() == odds.argmax()


def test_told_the_best_arms_it_is_always_paid():
    env = envs.make("contextual-bandit", horizon=10)
    assert (returns(env, "told the best arms", env.sample_tasks(5, Generator().manual_seed(0)), 2) == 10).all()
