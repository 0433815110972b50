"""The exact search: no other walk is better."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from gridworlds import DOWN, LEFT, RIGHT, UP, every_goal, grid, total_gain, trial

from envs.gridworld.search import optimal_walk


class TestOptimalWalk:
    def test_the_walk_is_worth_what_the_search_says(self):
        env = grid("varibad")
        moves = tuple(map(tuple, env.board.moves.view(25, 5).tolist()))
        goals = tuple(env.board.goals["train"].tolist())
        gain, walk = optimal_walk(moves, 0, goals, 15, 4)
        assert gain == total_gain(moves, 0, goals, 15, walk) == 825 and len(walk) == 60

    @pytest.mark.parametrize(
        ("drawing", "start", "horizon", "num_episodes"),
        [
            ("...", (0, 0), 3, 2),
            ("...", (0, 1), 2, 4),
            (".../.#.", (0, 1), 4, 2),
            ("../..", (0, 0), 3, 2),
            (".../.../...", (1, 1), 7, 1),
            (".../.../...", (0, 0), 4, 2),
            (".#./.../.#.", (0, 0), 4, 2),
            ("....", (0, 1), 2, 4),
        ],
    )
    def test_no_walk_of_a_small_board_is_better(self, drawing, start, horizon, num_episodes):
        rows = drawing.split("/")
        fields = {"height": len(rows), "width": len(rows[0]), "layout": drawing, "start": start, "held_out_every": 0}
        env = grid(min_goal_distance=1, horizon=horizon, trial_episodes=num_episodes, **fields)
        moves = tuple(map(tuple, env.board.moves.view(-1, 5).tolist()))
        goals = tuple(env.board.goals["train"].tolist())
        gain, walk = optimal_walk(moves, env.board.start, goals, horizon, num_episodes)
        assert total_gain(moves, env.board.start, goals, horizon, walk) == gain
        everything = itertools.product((UP, RIGHT, DOWN, LEFT), repeat=horizon * num_episodes)
        assert gain == max(total_gain(moves, env.board.start, goals, horizon, other) for other in everything)
        rewards = trial(env, "Bayes-optimal search", every_goal(env), num_episodes)
        assert (rewards == 1.0).sum().item() == gain

    @pytest.mark.slow
    @pytest.mark.parametrize("horizon", [8, 11, 15])
    def test_walks_improved_at_random_do_not_get_past_it(self, horizon):
        env, rng = grid("varibad", horizon=horizon), np.random.default_rng(horizon)
        moves, goals = env.board.moves.view(25, 5).tolist(), env.board.goals["train"].tolist()
        best, _ = optimal_walk(tuple(map(tuple, moves)), 0, tuple(goals), horizon, 4)
        reached = 0
        for _ in range(5):  # simulated annealing from random walks
            walk = rng.integers(1, 5, 4 * horizon)
            gain = total_gain(moves, 0, goals, horizon, walk)
            for i in range(1500):
                other = walk.copy()
                other[rng.integers(len(walk), size=2)] = rng.integers(1, 5, 2)
                tried = total_gain(moves, 0, goals, horizon, other)
                if tried >= gain or rng.random() < np.exp((tried - gain) / (12 * (1 - i / 1500))):
                    walk, gain = other, tried
            reached = max(reached, gain)
        assert 0.9 * best < reached <= best
