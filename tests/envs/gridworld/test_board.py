"""Where goals lie on each board."""

from __future__ import annotations

import itertools

import pytest
import torch
from gridworlds import generator, grid, places, steps_from

import envs
from envs.gridworld import PRESETS


class TestGoals:
    @pytest.mark.parametrize("preset", PRESETS)
    def test_every_task_can_be_solved(self, preset):
        env = grid(preset)
        for split in env.splits:
            task = env.sample_tasks(100, generator(5), split)
            for goal, walls in zip(task.goal.tolist(), env.board.walls_of(task).tolist(), strict=True):
                assert tuple(goal) in steps_from(walls, env.config.start) and tuple(goal) != env.config.start
                assert tuple(goal) in places(env, split)

    @pytest.mark.parametrize("preset", PRESETS)
    def test_held_out_goals_are_no_training_goals(self, preset):
        env = grid(preset)
        train, validation, test, ood = (places(env, split) for split in envs.SPLITS)
        assert train and test and len(ood) >= 2 and not ood & (train | validation | test)
        if PRESETS[preset].held_out_every == 0:
            assert train == validation == test
        else:
            assert not train & test and not validation & (train | test) and 2 <= len(train) / len(test) <= 4
            assert 0 <= len(validation) - len(test) <= 1

    def test_varibad_has_21_goals(self):
        near = {(0, 1), (1, 0), (1, 1)}
        board = set(itertools.product(range(5), repeat=2))
        assert places(grid("varibad"), "train") == board - near - {(0, 0)} and places(grid("varibad"), "ood") == near
        held = grid("varibad-held-out")
        assert places(held, "train") | places(held, "validation") | places(held, "test") == board - near - {(0, 0)}
        assert places(held, "test") == {(1, 3), (2, 3), (3, 3), (4, 3)}
        assert places(held, "validation") == {(1, 2), (2, 2), (3, 2), (4, 2)}

    def test_far_goals_are_out_of_range(self):
        env = grid("four-rooms")
        steps = steps_from(env.board.walls.tolist(), (0, 0))
        assert places(env, "ood") == {place for place, count in steps.items() if count > 16}

    def test_rooms_hide_the_goal_in_a_corner(self):
        env = grid("hyperx-rooms")
        corners = set(itertools.product((0, 2), (0, 2, 6, 8, 12, 14)))
        assert places(env, "train") | places(env, "validation") | places(env, "test") == corners
        for split in ("validation", "test"):
            assert {column // 6 for _, column in places(env, split)} == {0, 1, 2}, "one is held out in each room"

    @pytest.mark.parametrize("preset", ["varibad", "random-walls-9"])
    @pytest.mark.parametrize("split", ["validation", "test", "ood"])
    @pytest.mark.parametrize("excess", [0, 3])
    def test_an_evaluation_has_each_goal_as_often_as_any_other(self, preset, split, excess):
        env = grid(preset)
        goals = env.board.goals[split]
        task = env.sample_tasks(2 * len(goals) + excess, generator(6), split)
        count = torch.bincount(env.board.goal_cells(task), minlength=env.board.walls.numel())[goals]
        assert count.max() - count.min() == (excess % len(goals) > 0) and count.sum() == len(task)

    def test_the_order_and_the_goals_in_excess_are_random(self):
        env = grid("varibad")
        orders = {tuple(env.board.goal_cells(env.sample_tasks(5, generator(k), "test")).tolist()) for k in range(20)}
        assert len(orders) == 20 and len({frozenset(order) for order in orders}) > 15

    @pytest.mark.parametrize("preset", ["varibad", "random-walls-9"])
    def test_training_goals_are_drawn_independently_and_equally_likely(self, preset):
        env, n, split = grid(preset), 6_000, "train"
        task = env.sample_tasks(n, generator(6), split)
        count = torch.bincount(env.board.goal_cells(task), minlength=env.board.walls.numel())[
            env.board.goals[split]
        ].double()
        expected = n / len(count)
        chi = ((count - expected) ** 2 / expected).sum().item()
        assert count.sum() == n and chi < len(count) - 1 + 4 * (2 * len(count)) ** 0.5
