"""Pictures of gridworlds."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from gridworlds import generator, grid

from envs.gridworld import State, Task


class TestRender:
    """Images show walls, the goal, the agent, its path, visits and earlier episodes."""

    path = State(torch.tensor([0, 1, 2, 2, 7]))

    def image(self, goal=(4, 4), path=path, preset="varibad", **options) -> np.ndarray:
        return grid(preset).render(Task(torch.tensor(goal)), path, **options)

    def square(self, image, row, column, size=5) -> np.ndarray:
        """The pixels of a cell."""
        height = image.shape[0]
        cell, edge = 0.92 * height / size, 0.04 * height
        (top, bottom), (left, right) = ((round(edge + x * cell), round(edge + (x + 1) * cell)) for x in (row, column))
        return image[top:bottom, left:right]

    def test_shape_and_type(self):
        assert self.image().shape == (480, 480, 3) and self.image().dtype == np.uint8
        assert self.image(size=64).shape == (64, 64, 3)
        assert np.array_equal(self.image(), self.image())

    def test_the_goal_changes_its_cell_only(self):
        changed = (self.image((4, 4)) != self.image((2, 4))).any(-1)
        rows, columns = np.nonzero(changed)
        assert columns.min() > 370 and set((rows - 19) // 88) == {2, 4}

    def test_path_visits_agent_and_earlier_episodes_are_drawn(self):
        now, before = self.image(), self.image(path=self.path[:4])
        assert (self.square(now, 1, 2) != self.square(before, 1, 2)).any(), "the agent moved on"
        corner = (slice(5, 12), slice(5, 12))  # floor that no line crosses
        once, twice, never = (self.square(now, *place)[corner].mean() for place in ((0, 1), (0, 2), (3, 3)))
        assert twice < once < never, "visits deepen the floor"
        assert (self.image(earlier=[State(torch.tensor([0, 5, 10, 11]))]) != now).any()

    def test_walls_are_drawn(self):
        image = self.image((0, 1), State(torch.tensor([0])), "four-rooms")
        wall, floor = self.square(image, 0, 5, 11), self.square(image, 0, 6, 11)
        assert wall.mean() < 110 and floor.mean() > 220

    def test_walls_of_a_task_are_drawn(self):
        env = grid("random-walls-9")
        task = env.sample_tasks(1, generator())
        state, _ = env.reset(task, 1, generator())
        image = env.render(task[0], State(state.cell[:, 0]), size=360)
        for row, column in itertools.product(range(9), repeat=2):
            dark = self.square(image, row, column, 9)[8:12, 8:12].mean() < 110
            assert dark == bool(task.walls[0, row, column])
