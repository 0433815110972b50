"""Drawings, distances and random walls against a board in plain Python."""

from __future__ import annotations

import itertools

import pytest
import torch
from gridworlds import boards, generator, grid, steps_from
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from envs.gridworld import GridWorldConfig
from envs.gridworld.layouts import FAR, distances


def test_drawings_may_use_slashes_or_lines():
    config = GridWorldConfig(3, 2, "..#/...")
    assert grid(width=3, height=2, layout="\n..#\n...\n").board.walls.tolist() == [[False, False, True], [False] * 3]
    assert grid(width=3, height=2, layout=config.layout, min_goal_distance=1, held_out_every=0).board.goals[
        "train"
    ].tolist() == [1, 3, 4, 5]


class TestDistances:
    @settings(max_examples=100)
    @given(walls=boards, data=st.data())
    def test_they_are_breadth_first_distances(self, walls, data):
        free = [(r, c) for r, row in enumerate(walls) for c, wall in enumerate(row) if not wall]
        assume(free)
        sources = data.draw(st.lists(st.sampled_from(free), min_size=1, max_size=3))
        mask = torch.zeros(len(walls), len(walls[0]), dtype=torch.bool)
        for place in sources:
            mask[place] = True
        other = torch.ones_like(mask)  # a second board of the batch, without walls
        field = distances(torch.stack([~torch.tensor(walls), other]), torch.stack([mask, mask]))
        found = [steps_from(walls, place) for place in sources]
        for place in itertools.product(range(len(walls)), range(len(walls[0]))):
            assert field[0][place] == min(steps.get(place, FAR) for steps in found)
            assert field[1][place] == min(abs(place[0] - r) + abs(place[1] - c) for r, c in sources)


class TestRandomWalls:
    def test_random_walls_follow_their_law_given_a_path(self):
        env = grid("random-walls-9", width=3, height=2, wall_fraction=0.4, held_out_every=0, max_goal_steps=0)
        goal = (1, 2)
        task = env.sample_tasks(60_000, generator(7))
        task = task[(task.goal == torch.tensor(goal)).all(-1)]
        codes = (task.walls.flatten(1).long() * 2 ** torch.arange(6)).sum(1)
        frequency = torch.bincount(codes, minlength=64).double() / len(codes)
        law = torch.zeros(64, dtype=torch.double)
        for cells in itertools.product((False, True), repeat=6):
            walls = [cells[:3], cells[3:]]
            if not walls[0][0] and not walls[1][2] and goal in steps_from(walls, (0, 0)):
                law[sum(2**i for i, wall in enumerate(cells) if wall)] = 0.4 ** sum(cells) * 0.6 ** (4 - sum(cells))
        assert (frequency - law / law.sum()).abs().max() < 0.015

    def test_boards_differ_between_tasks(self):
        walls = grid("random-walls-9").sample_tasks(50, generator()).walls
        assert len(walls.unique(dim=0)) == 50 and walls.double().mean().item() == pytest.approx(0.23, abs=0.03)
