"""Pictures of a contextual bandit show what has paid, what has not, the best arms and the context."""

import numpy as np
import pytest
import torch

import envs
from envs.contextual_bandit import State, Task
from envs.contextual_bandit.render import layout, outcomes

env = envs.make("contextual-bandit", num_contexts=4, num_arms=3, horizon=6)
TASK = Task(torch.tensor([0, 1, 2, 0]))


def episode(contexts=(0, 3, 0), arms=(-1, 0, 1), rewards=(0, 1, 0)) -> State:
    return State(torch.tensor(contexts), torch.tensor(arms), torch.tensor(rewards).float())


def test_outcomes_belong_to_the_context_that_was_seen_when_the_arm_was_pulled():
    assert outcomes([episode()]) == ({(0, 0)}, {(3, 1)})
    assert outcomes([episode(), episode((1, 2), (-1, 2), (0, 1))]) == ({(0, 0), (1, 2)}, {(3, 1)})


def test_shape_and_repeatability():
    image = env.render(TASK, episode())
    assert image.shape == (480, 480, 3) and np.array_equal(image, env.render(TASK, episode()))


@pytest.mark.parametrize(
    ("task", "path", "earlier"),
    [
        (Task(torch.tensor([0, 1, 2, 1])), episode(), []),
        (TASK, episode((0, 3, 1)), []),
        (TASK, episode(rewards=(0, 1, 1)), []),
        (TASK, episode(), [episode((1, 2), (-1, 2), (0, 1))]),
    ],
    ids=["best arm", "context", "reward", "earlier"],
)
def test_it_shows(task, path, earlier):
    assert (env.render(task, path, earlier) != env.render(TASK, episode())).any()


@pytest.mark.parametrize("num_rows", [1, 20, 200, 10_000])
def test_all_contexts_fit(num_rows):
    columns, rows, cell = layout(num_rows, 6, 448, 414)
    assert columns * rows >= num_rows and 0 < cell * rows <= 414 + 1e-6 and cell * 6 * columns <= 448 + 1e-6
