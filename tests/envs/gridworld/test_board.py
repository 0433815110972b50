"""Where goals lie on each board."""

from __future__ import annotations

import itertools

import pytest
import torch
from gridworlds import generator, grid, places, steps_from

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
        train, test, ood = (places(env, split) for split in ("train", "test", "ood"))
        assert train and test and len(ood) >= 2 and not ood & (train | test)
        if preset in ("varibad", "varibad-one-hot"):
            assert train == test
        else:
            assert not train & test and 3 <= len(train) / len(test) <= 5

    def test_varibad_has_21_goals(self):
        near = {(0, 1), (1, 0), (1, 1)}
        board = set(itertools.product(range(5), repeat=2))
        assert places(grid("varibad"), "train") == board - near - {(0, 0)} and places(grid("varibad"), "ood") == near
        held = grid("varibad-held-out")
        assert places(held, "train") | places(held, "test") == board - near - {(0, 0)}
        assert places(held, "test") == {(1, 3), (2, 3), (3, 3), (4, 3)}

    def test_far_goals_are_out_of_range(self):
        env = grid("four-rooms")
        steps = steps_from(env.board.walls.tolist(), (0, 0))
        assert places(env, "ood") == {place for place, count in steps.items() if count > 16}

    def test_rooms_hide_the_goal_in_a_corner(self):
        env = grid("hyperx-rooms")
        corners = set(itertools.product((0, 2), (0, 2, 6, 8, 12, 14)))
        assert places(env, "train") | places(env, "test") == corners
        assert {column // 6 for _, column in places(env, "test")} == {0, 1, 2}, "one is held out in each room"

    @pytest.mark.parametrize("preset", ["varibad", "random-walls-9"])
    @pytest.mark.parametrize("split", ["train", "test", "ood"])
    def test_goals_are_equally_likely(self, preset, split):
        env, n = grid(preset), 6_000
        task = env.sample_tasks(n, generator(6), split)
        count = torch.bincount(env.board.goal_cells(task), minlength=env.board.walls.numel())[
            env.board.goals[split]
        ].double()
        expected = n / len(count)
        chi = ((count - expected) ** 2 / expected).sum().item()
        assert count.sum() == n and chi < len(count) - 1 + 4 * (2 * len(count)) ** 0.5
