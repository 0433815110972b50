"""Pictures of tabular MDPs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from tabulars import generator, make

from envs.tabular import State, Task


class TestRender:
    env = make()
    task = env.sample_tasks(1, generator(1))[0]
    path = State(torch.tensor([0, 3, 3, 7]), torch.tensor([-1, 2, 0, 4]), torch.tensor([0.0, 1.5, 1.0, 3.0]))

    def image(self, path=path, task=task, **options) -> np.ndarray:
        return self.env.render(task, path, **options)

    def test_it_shows_the_path_the_rewards_and_earlier_episodes(self):
        other = State(self.path.index, self.path.action, -self.path.total)
        images = [self.image(), self.image(self.path[:3]), self.image(other), self.image(earlier=[self.path])]
        for a, b in itertools.combinations(images, 2):
            assert (a != b).any()

    def test_it_depends_on_its_arguments_alone(self):
        assert np.array_equal(self.image(), self.image())

    def test_mean_rewards_are_drawn_in_their_tile(self):
        reward = self.task.reward_mean.clone()
        reward[9] = reward[9].flip(-1)
        changed = (self.image() != self.image(task=Task(self.task.transition, reward))).any(-1)
        rows, columns = np.nonzero(changed)
        assert rows.size and rows.min() > 340 and columns.min() > 120 and columns.max() < 240, (
            "third row, second column"
        )

    @pytest.mark.parametrize(("num_states", "num_actions", "size"), [(2, 2, 96), (5, 9, 320), (100, 4, 480)])
    def test_any_number_of_states(self, num_states, num_actions, size):
        env = make(num_states=num_states, num_actions=num_actions)
        task = env.sample_tasks(1, generator(1))
        state, _ = env.reset(task, 1, generator())
        image = env.render(task[0], type(state).stack([state])[:, 0, 0], size=size)
        assert image.shape == (size, size, 3) and image.dtype == np.uint8
