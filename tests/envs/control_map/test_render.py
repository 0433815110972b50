"""Pictures of reaching show the goal, the path, earlier goals and the hidden map."""

import numpy as np
import pytest
import torch

import envs
from envs.control_map import State, Task
from envs.control_map.render import split

env = envs.make("control-map")
TASK = Task(torch.tensor([[[0.0, -1.0], [1.0, 0.0]]]))
PATH = State(
    torch.tensor([[0.0, 0.0], [0.3, 0.1], [0.5, 0.4]]), torch.tensor([[0.6, 0.8]]).expand(3, 2), torch.arange(3)
)


def image(task=TASK, path=PATH, **options) -> np.ndarray:
    return env.render(task, path, **options)


def test_shape_and_repeatability():
    assert image().shape == (480, 480, 3) and image(size=64).shape == (64, 64, 3)
    assert np.array_equal(image(), image())


@pytest.mark.parametrize(
    "other",
    [
        {"task": Task(-TASK.control)},
        {"path": PATH[:2]},
        {"path": State(PATH.position, -PATH.goal, PATH.time)},
        {"earlier": [State(-PATH.position, -PATH.goal, PATH.time)]},
    ],
    ids=["map", "position", "goal", "earlier"],
)
def test_it_shows(other):
    assert (image(**other) != image()).any()


def test_a_point_far_away_is_marked_at_the_edge():
    far = State(PATH.position * 20, PATH.goal, PATH.time)
    assert (image(path=far)[:40, -40:] != image()[:40, -40:]).any()


def test_an_episode_with_several_goals_is_drawn_in_parts():
    changing = envs.make("control-map", "changing", horizon=6, reach=2)
    task = changing.sample_tasks(1, torch.Generator().manual_seed(0))
    draws = torch.Generator().manual_seed(1)
    state, _ = changing.reset(task, 1, draws)
    states = [state]
    for _ in range(6):
        state = changing.step(task, state, torch.ones(1, 1, 2), draws).state
        states.append(state)
    episode = State.stack(states)[:, 0, 0]
    parts = split(episode, 2)
    assert [len(part.time) for part in parts] == [2, 2, 3]
    assert all((part.goal == part.goal[0]).all() for part in parts)
    assert changing.render(task[0], episode).shape == (480, 480, 3)
