"""Environments that tell the task: over every family and preset."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Generator

import envs
from envs import InputError


def tasks_of(env, n=3):
    return env.sample_tasks(n, Generator().manual_seed(0))


def test_the_observation_is_that_of_the_environment_and_the_task(family, preset):
    """Gymnasium's own flattening of the task says what must be appended."""
    env = envs.make(family, preset)
    told = envs.informed(env)
    task = tasks_of(env)
    flat = torch.stack([torch.as_tensor(spaces.flatten(env.task_space, row)) for row in env.task_to_dicts(task)])
    expected = flat.float()[:, None].expand(-1, 2, -1)
    one, two = Generator().manual_seed(1), Generator().manual_seed(1)
    (state, plain), (_, seen) = env.reset(task, 2, one), told.reset(task, 2, two)
    assert seen.dtype == torch.float32 and (*told.observation_space.shape,) == seen.shape[2:]
    assert torch.equal(seen, torch.cat([plain, expected], -1))
    action = env.random_actions(task, state, None, Generator().manual_seed(2))
    a, b = env.step(task, state, action, one), told.step(task, state, action, two)
    assert torch.equal(b.obs, torch.cat([a.obs, expected], -1))
    assert torch.equal(a.reward, b.reward) and torch.equal(a.terminated, b.terminated)
    assert all(torch.equal(x, y) for x, y in zip(vars(a.state).values(), vars(b.state).values(), strict=True))
    assert told.observation_space.contains(seen[0, 0].numpy()) and told.observation_space.contains(b.obs[0, 0].numpy())


def test_all_else_is_handed_on(family, preset):
    env = envs.make(family, preset)
    told = envs.informed(env)
    for name in ("config", "device", "horizon", "task_type", "task_space", "splits", "action_space"):
        assert getattr(told, name) == getattr(env, name), name
    assert told.references().keys() == env.references().keys() and told.metrics() == env.metrics()
    rows = env.task_to_dicts(tasks_of(env))
    assert told.task_to_dicts(tasks_of(told)) == rows
    assert told.task_to_dicts(told.task_from_dicts(rows)) == rows
    with pytest.raises(InputError, match="must be a dict with the fields"):
        told.task_from_dicts([3])


def test_it_draws_the_same_picture():
    env = envs.make("point")
    task = tasks_of(env)
    state, _ = env.reset(task, 1, Generator())
    episode = type(state).stack([state[0, 0]])
    assert np.array_equal(envs.informed(env).render(task[0], episode, size=60), env.render(task[0], episode, size=60))


class Odd(envs.point.Point):
    """Point with other spaces."""


@pytest.mark.parametrize(
    ("name", "space", "said"),
    [
        (
            "task_space",
            spaces.Dict(goal=spaces.Text(3)),
            "The task field 'goal' cannot be turned into numbers",
        ),
        (
            "observation_space",
            spaces.Discrete(3),
            "The task can only be appended to a vector observation",
        ),
        ("observation_space", spaces.Box(0, 1, (2, 2)), "The task can only be appended to a vector observation"),
    ],
)
def test_what_cannot_be_told_is_refused(name, space, said, sentence):
    env = Odd(envs.make_config("point"), torch.device("cpu"))
    setattr(env, name, space)
    with pytest.raises(InputError) as error:
        envs.informed(env)
    assert said in sentence(error)


def test_discrete_fields_are_told_one_hot():
    """A field of one whole number, which no family has."""

    @dataclasses.dataclass(frozen=True, eq=False)
    class Task(envs.Struct):
        kind: torch.Tensor  # [N]
        goal: torch.Tensor  # [N, 2]

    env = envs.make("point")
    env.task_space = spaces.Dict(goal=env.task_space["goal"], kind=spaces.Discrete(3, start=5))
    task = Task(torch.tensor([5, 7]), torch.tensor([[0.5, -1.0], [0.25, 1.0]]))
    _, obs = envs.informed(env).reset(task, 1, Generator())
    order = list(env.task_space)
    assert order == ["goal", "kind"]
    assert obs[:, 0, 2:].tolist() == [[0.5, -1.0, 1, 0, 0], [0.25, 1.0, 0, 0, 1]]
