"""References of reaching: the one that is told the map is optimal, and the map is measured exactly."""

import itertools

import pytest
import torch
from torch import Generator

import envs
from envs.control_map import State, Task
from envs.core import Reference, Transition


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def play(env, reference: Reference, task: Task, num_envs: int, num_episodes: int = 1):
    """actions and rewards [episodes * H, N, E], and the states before each step, of a trial."""
    draws, out = generator(1), []
    memory = reference.start(task, num_envs, draws)
    for _ in range(num_episodes):
        state, _ = env.reset(task, num_envs, draws)
        for _ in range(env.horizon):
            action = reference.act(task, state, memory, draws)
            result = env.step(task, state, action, draws)
            memory = reference.observe(
                task, memory, Transition(state, action, result.reward, result.state, result.terminated)
            )
            out.append((action, result.reward, state))
            state = result.state
    return torch.stack([x[0] for x in out]), torch.stack([x[1] for x in out]), [x[2] for x in out]


def told(env) -> Reference:
    return env.references()["told the map"]


def test_told_the_map_it_goes_straight_along_an_axis():
    env = envs.make("control-map")
    task = Task(torch.tensor([[[[0.0, -0.5], [0.5, 0.0]]]]))  # turned to the left, 0.2 m in a step
    state = State(torch.zeros(1, 1, 2), torch.tensor([[[0.0, 1.0]]]), torch.zeros(1, 1, dtype=torch.int64))
    rewards, actions = [], []
    for _ in range(6):
        actions.append(told(env).act(task, state, None, generator()))
        result = env.step(task, state, actions[-1], generator())
        state = result.state
        rewards.append(result.reward.item())
    assert rewards == pytest.approx([-0.8, -0.6, -0.4, -0.2, 0, 0], abs=1e-6)
    assert torch.allclose(torch.stack(actions)[:5, 0, 0], torch.tensor([1.0, 0.0]).expand(5, 2), atol=1e-6)


def test_no_sequence_of_actions_on_a_grid_does_better_than_the_one_that_is_told_the_map():
    env = envs.make("control-map", horizon=3)
    grid = torch.tensor(list(itertools.product(torch.linspace(-1, 1, 5).tolist(), repeat=2)))
    plans = torch.tensor(list(itertools.product(range(len(grid)), repeat=3)))  # 15,625
    for seed in range(3):
        task = env.sample_tasks(1, generator(seed))
        state, _ = env.reset(task, 1, generator(seed))
        lanes = state.map(lambda x: x.expand(1, len(plans), *x.shape[2:]))
        best, total = 0.0, torch.zeros(1, len(plans))
        for t in range(3):
            action = told(env).act(task, state, None, generator())
            step = env.step(task, state, action, generator())
            state, best = step.state, best + step.reward.item()
            result = env.step(task, lanes, grid[plans[:, t]][None], generator())
            lanes, total = result.state, total + result.reward
        assert total.max().item() <= best + 1e-5


def test_identification_knows_the_map_after_two_steps_and_in_every_later_episode():
    env = envs.make("control-map")
    task = env.sample_tasks(50, generator(3), "ood")
    reference = env.references()["identification"]
    actions, rewards, states = play(env, reference, task, 2, num_episodes=2)
    assert torch.equal(actions[:2, 0, 0], torch.tensor([[0.1, 0.0], [0.0, 0.1]]))
    for action, state in list(zip(actions, states, strict=True))[2:]:
        assert torch.allclose(action, told(env).act(task, state, None, generator()), atol=1e-4)
    best = play(env, told(env), task, 2, num_episodes=2)[1]
    assert rewards.sum(0).mean() > best.sum(0).mean() - 2.1, "the price of the two steps"


def test_identification_starts_again_when_the_map_has_changed():
    env = envs.make("control-map", "changing", horizon=8, reach=4)
    turned = [[[0.0, -1.0], [1.0, 0.0]]]
    task = Task(torch.tensor([[[[1.0, 0.0], [0.0, 1.0]], *turned], turned * 2]))
    actions, _, states = play(env, env.references()["identification"], task, 1)
    best = [told(env).act(task, state, None, generator()) for state in states]
    right = torch.isclose(actions, torch.stack(best), atol=1e-4).all(-1)[..., 0].T
    probes = (actions.abs().amax(-1) <= 0.1)[:, :, 0].T & ~right
    assert right.tolist() == [[False, False, True, True, False, False, False, True], [False] * 2 + [True] * 6]
    assert probes.tolist() == [[True, True] + [False] * 3 + [True, True, False], [True, True] + [False] * 6]
