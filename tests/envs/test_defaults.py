"""A family that says little: tasks, references and a picture by default."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from lines import State, Task

import envs
from envs import InputError
from envs.defaults import uniform


class Plain(envs.Env):
    """Task, State, reset and step."""

    horizon, task_type = 5, Task
    task_space = spaces.Dict(place=spaces.Box(-1, 1, (), np.float32))
    observation_space = action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, task, num_envs, generator):
        x = torch.zeros(len(task), num_envs)
        return State(x), x.unsqueeze(-1)

    def step(self, task, state, action, generator):
        x = (state.x + 0.2 * action[..., 0].clamp(-1, 1)).clamp(-1, 1)
        ended = torch.zeros_like(x, dtype=torch.bool)
        return envs.StepResult(State(x), x.unsqueeze(-1), -(x - task.place[:, None]).abs(), ended)


def test_such_a_family_is_whole(monkeypatch):
    monkeypatch.setattr(envs.registry, "FAMILIES", {**envs.FAMILIES})
    envs.register("plain", Plain)
    try:
        envs.check("plain")
        env = envs.make("plain", horizon=3)
    finally:
        del gymnasium.registry["metarl/Plain-v0"]
    assert env.horizon == 3 and list(env.references()) == ["random"]
    task = env.sample_tasks(2, torch.Generator())
    states = State(torch.linspace(0, 1, 4))
    first = env.render(task[0], states[:1])
    assert not np.array_equal(first, env.render(task[0], states, [states]))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=2),
        spaces.MultiDiscrete([2, 4]),
        spaces.MultiBinary(3),
        spaces.Box(-1, 2, (2, 2), np.float32),
        spaces.Box(1, 4, (), np.int64),
    ],
    ids=str,
)
def test_draws_lie_in_their_space_and_fill_it(space):
    drawn = uniform(space, 300, torch.Generator().manual_seed(0)).numpy()
    assert drawn.shape == (300, *(space.shape or ())) and drawn.dtype == space.dtype
    assert all(space.contains(np.asarray(x)) for x in drawn[:20])
    if drawn.dtype.kind != "f":
        most = drawn.reshape(300, -1).max(0) - drawn.reshape(300, -1).min(0) + 1
        count = {spaces.Discrete: 3, spaces.MultiDiscrete: [2, 4], spaces.MultiBinary: 2, spaces.Box: 4}[type(space)]
        assert np.array_equal(most, np.broadcast_to(count, most.shape))


def test_a_space_without_bounds_has_no_uniform_draw(sentence):
    with pytest.raises(InputError) as error:
        uniform(spaces.Box(-np.inf, 1, (), np.float32), 1, torch.Generator())
    assert "write sample_tasks, or give it bounds" in sentence(error)
