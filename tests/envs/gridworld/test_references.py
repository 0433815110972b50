"""References of the gridworld: shortest path, systematic and Bayes-optimal search."""

from __future__ import annotations

import itertools

import pytest
import torch
from gridworlds import DOWN, LEFT, RIGHT, UP, every_goal, generator, grid, state_at, steps_from, total_gain, trial

import envs
from envs.gridworld import PRESETS, RandomWallsTask, State, Task
from envs.tabular.references import backward_induction


class TestShortestPath:
    @pytest.mark.parametrize("preset", [name for name, config in PRESETS.items() if config.slip == 0])
    def test_its_return_follows_from_the_distance(self, preset):
        env = grid(preset, terminate_at_goal=False)
        for split in env.splits:
            task = env.sample_tasks(40, generator(8), split)
            rewards = trial(env, "shortest path", task, 1, lanes=2)
            for n, (goal, walls) in enumerate(zip(task.goal.tolist(), env.board.walls_of(task).tolist(), strict=True)):
                steps = steps_from(walls, env.config.start)[tuple(goal)]
                miss = [-left / env.config.width for left in range(1, steps)]
                if not env.config.distance_reward:
                    miss = [env.config.reward_step] * (steps - 1)
                wanted = sum(miss) + env.config.reward_goal * (env.horizon - steps + 1)
                assert rewards[n, 0].sum(0).tolist() == pytest.approx([wanted] * 2, abs=1e-4)

    def test_over_all_goals_it_goes_left_as_often_as_right(self):
        """Otherwise a mean over goals that may be, which DPT learns, drifts to one side."""
        env = envs.make("dark-room", width=5, height=5)
        task = env.task_from_dicts([{"goal": [row, column]} for row in range(5) for column in range(5)])
        centre = State(torch.full((25, 1), 12))
        oracle = env.references()["shortest path"]
        action = oracle.act(task, centre, oracle.start(task, 1, generator()), generator())
        assert torch.bincount(action.flatten()).tolist() == [1, 10, 2, 10, 2], "along the column first"

    def test_it_terminates_where_the_goal_does(self):
        env = grid("four-rooms")
        task = env.task_from_dicts([{"goal": [0, 2]}])
        result = env.step(task, state_at(env, (0, 1)), torch.tensor([[RIGHT]]), generator())
        assert result.terminated.item() and result.reward.item() == 1.0


class TestValueIteration:
    def test_by_hand_on_two_cells_it_comes_back_and_stays(self):
        """From the start [0, 0], beside the goal [0, 1]: half of the slips of two cells in a row go nowhere."""
        env = grid("slippery", width=2, height=1, max_goal_steps=0, held_out_every=0, horizon=2, slip=0.4)
        task = env.task_from_dicts([{"goal": [0, 1]}])
        move = env.references()["value iteration"].start(task, 1, generator()).move[0, 0]
        assert move.tolist() == [[RIGHT, 0], [RIGHT, 0]]

    @pytest.mark.parametrize("ends", [False, True])
    def test_its_moves_are_worth_what_the_table_of_transitions_promises(self, ends):
        """By the value iteration of tabular MDPs."""
        layout = {"width": 3, "height": 3, "layout": "..#/.../#.."}
        env = grid("slippery", **layout, slip=0.4, held_out_every=0, terminate_at_goal=ends)
        task = every_goal(env)
        taken = 0.6 * torch.eye(5) + 0.1 * torch.tensor([0.0, 1, 1, 1, 1])  # [action, move]
        transition = taken @ torch.nn.functional.one_hot(env.board.moves.view(9, 5), 9).float()  # [C, action, C]
        at_goal = torch.nn.functional.one_hot(env.board.goal_cells(task), 9).float()[:, None, None]
        reward = -0.1 + 1.1 * (transition * at_goal).sum(-1)  # [N, C, action]
        transition = transition * (1 - ends * at_goal)
        _, promised = backward_induction(transition, reward, env.horizon)
        moves = env.references()["value iteration"].start(task, 1, generator()).move[:, 0].long()
        value = torch.zeros(len(task), 9)
        for move in reversed(moves.unbind(1)):
            later = (transition * value[:, None, None]).sum(-1)
            value = (reward + later).gather(2, move[..., None]).squeeze(-1)
        torch.testing.assert_close(value, promised)


class TestSearch:
    @pytest.mark.parametrize("preset", [name for name, config in PRESETS.items() if config.slip == 0])
    def test_it_finds_every_goal_and_then_goes_straight(self, preset):
        env = grid(preset, terminate_at_goal=False)
        for split in ("train", "validation", "test"):
            task = env.sample_tasks(60, generator(9), split)
            rewards = trial(env, "systematic search", task, 6)
            assert (rewards[:, -2, -1] == env.config.reward_goal).all(), "found by the fifth episode"
            if not env.board.randomized:
                best = trial(env, "shortest path", task, 1)[:, 0].sum(1)
                assert torch.allclose(rewards[:, -1].sum(1), best)

    def test_it_looks_first_where_the_start_shows_the_goal(self):
        env = grid("beck2023-show")
        best, found = (trial(env, name, every_goal(env), 2).sum(2) for name in ("shortest path", "systematic search"))
        first, second = (best - found).mean(-1).T
        assert first.tolist() == pytest.approx([1.1] * 21) and second.tolist() == pytest.approx([0.0] * 21, abs=1e-5)

    def test_a_distance_leaves_only_places_as_far_away(self):
        env = grid("beck2023-dense")
        task, search = Task(torch.tensor([[2, 4]])), env.references()["systematic search"]
        state, action = state_at(env, (0, 0)), torch.tensor([[DOWN]])
        result = env.step(task, state, action, generator())
        seen = envs.Transition(state, action, result.reward, result.state, result.terminated)
        belief = search.observe(task, search.start(task, 1, generator()), seen).belief[0, 0]
        far = {(r, c) for r, c in itertools.product(range(5), range(5)) if abs(r - 1) + c == 5}
        assert {divmod(int(cell), 5) for cell in belief.nonzero()} == far == {(0, 4), (2, 4), (3, 3), (4, 2)}

    def test_it_finds_goals_that_it_does_not_expect(self):
        env = grid("varibad")
        for name in ("systematic search", "Bayes-optimal search"):
            assert (trial(env, name, every_goal(env, "ood"), 4)[:, -1, -1] == 1.0).all()

    def test_under_slips_it_still_ends_on_the_goal(self):
        env = grid("random-walls-9", slip=0.1)
        rewards = trial(env, "systematic search", env.sample_tasks(60, generator(10)), 8)
        assert (rewards[:, -1].amax(1) == 1.0).double().mean() > 0.9

    def test_the_belief_survives_the_end_of_an_episode(self):
        env = grid("varibad")
        task = Task(torch.tensor([[4, 4], [0, 2]]))
        search = env.references()["systematic search"]
        memory = search.start(task, 1, generator())
        assert memory.belief.sum(-1).tolist() == [[21], [21]]
        state = State(torch.tensor([[1], [1]]))
        result = env.step(task, state, torch.tensor([[RIGHT], [RIGHT]]), generator())
        seen = envs.Transition(state, torch.tensor([[RIGHT]] * 2), result.reward, result.state, result.terminated)
        memory = search.observe(task, memory, seen)
        assert memory.belief.sum(-1).tolist() == [[20], [1]] and memory.belief[1, 0, 2] and not memory.belief[0, 0, 2]
        fresh, _ = env.reset(task, 1, generator())
        ends = torch.zeros_like(result.terminated)
        step = env.step(task, fresh, torch.zeros_like(fresh.cell), generator())
        later = search.observe(task, memory, envs.Transition(fresh, fresh.cell * 0, step.reward, step.state, ends))
        assert torch.equal(later.belief, memory.belief) and later.time.tolist() == [[2], [2]]

    def test_walls_are_learned_by_running_against_them(self):
        env = grid("random-walls-9", width=3, height=1, held_out_every=0)
        task = RandomWallsTask(torch.tensor([[0, 2]]), torch.tensor([[[0, 1, 0]]], dtype=torch.int8))
        search = env.references()["systematic search"]
        memory, state = search.start(task, 1, generator()), state_at(env, (0, 0))
        action = search.act(task, state, memory, generator())
        assert action.item() == RIGHT
        result = env.step(task, state, action, generator())
        seen = envs.Transition(state, action, result.reward, result.state, result.terminated)
        assert search.observe(task, memory, seen).walls[0, 0].tolist() == [False, True, False]

    def test_searches_do_not_look_at_the_goal(self):
        env = grid("varibad")
        for name in ("systematic search", "Bayes-optimal search"):
            reference = env.references()[name]
            task = every_goal(env)
            state, _ = env.reset(task, 1, generator())
            action = reference.act(task, state, reference.start(task, 1, generator()), generator())
            assert (action == action[0]).all()


class TestBayesOptimalSearch:
    def test_varibad_is_worth_37_21(self):
        """By hand: no goal is a step from the start, so the first episode meets at most one new goal at each of its
        steps 2 to 15, which pays 14 + ... + 1 = 105 steps on a goal over all 21 goals; and no later episode is better
        than the shortest way. The walk attains both bounds, so they are the optimum."""
        env = grid("varibad")
        rewards = trial(env, "Bayes-optimal search", every_goal(env), 4)
        exact = -0.1 * 60 + 1.1 * 825 / 21
        assert rewards.sum((1, 2)).mean().item() == pytest.approx(exact, abs=1e-5) and f"{exact:.2f}" == "37.21"
        first = -0.1 * 15 + 1.1 * 105 / 21
        told = trial(env, "shortest path", every_goal(env), 1).sum((1, 2)).mean().item()
        assert rewards.sum((2, 3)).mean(0).tolist() == pytest.approx([first, told, told, told], abs=1e-5)
        assert first + 3 * told == pytest.approx(exact, abs=1e-5)

    def test_it_beats_other_searches(self):
        env = grid("varibad")
        best = trial(env, "Bayes-optimal search", every_goal(env), 4).sum((1, 2)).mean().item()
        systematic = trial(env, "systematic search", every_goal(env), 4).sum((1, 2)).mean().item()
        moves, goals = env.board.moves.view(25, 5).tolist(), env.board.goals["train"].tolist()
        sweeps = []
        for first, second, back in ((RIGHT, DOWN, LEFT), (DOWN, RIGHT, UP)):  # row by row, column by column
            sweep = ([first] * 4 + [second] + [back] * 4 + [second]) * 6
            gain = total_gain(moves, 0, goals, 15, sweep)
            sweeps.append(-6 + 1.1 * gain / 21)
        assert best > systematic > max(sweeps)

    def test_an_episode_too_short_for_any_goal_is_no_trouble(self):
        env = grid("varibad", horizon=1)
        assert (trial(env, "Bayes-optimal search", every_goal(env), 5) < 0).all()

    @pytest.mark.parametrize(
        "fields",
        [{"slip": 0.1}, {"terminate_at_goal": True}, {"held_out_every": 5}, {"layout": "random-walls"}, {"width": 9}],
    )
    def test_it_is_offered_only_where_it_is_exact(self, fields):
        assert "Bayes-optimal search" in grid("varibad").references()
        assert "Bayes-optimal search" not in grid("varibad", **fields).references()
