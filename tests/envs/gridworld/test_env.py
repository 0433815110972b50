"""Gridworlds against a board in plain Python: moves, observations and given tasks."""

from __future__ import annotations

import itertools

import pytest
import torch
from gridworlds import (
    LEFT,
    MOVES,
    RIGHT,
    STAY,
    UP,
    after,
    boards,
    every_goal,
    generator,
    grid,
    state_at,
    steps_from,
    trial,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import envs
from envs.gridworld import PRESETS, PermutedTask, RandomWallsTask, State, Task


class TestStep:
    @settings(max_examples=150)
    @given(walls=boards, data=st.data())
    def test_a_step_is_that_of_a_board_in_plain_python(self, walls, data):
        free = [(r, c) for r, row in enumerate(walls) for c, wall in enumerate(row) if not wall]
        starts = [place for place in free if len(steps_from(walls, place)) > 1]
        assume(starts)
        start, goal, place = (data.draw(st.sampled_from(x)) for x in (starts, free, free))
        action, ends = data.draw(st.sampled_from(list(MOVES))), data.draw(st.booleans())
        drawing = "/".join("".join("#" if wall else "." for wall in row) for row in walls)
        fields = {
            "height": len(walls),
            "width": len(walls[0]),
            "start": start,
            "held_out_every": 0,
            "terminate_at_goal": ends,
            "min_goal_distance": 1,
            "reward_goal": 2.0,
            "reward_step": -0.5,
        }
        wanted = after(walls, place, action)
        drawn = grid(layout=drawing, **fields)
        hidden = grid(layout="random-walls", **fields)
        for env, task in (
            (drawn, Task(torch.tensor([goal]))),
            (hidden, RandomWallsTask(torch.tensor([goal]), torch.tensor([walls], dtype=torch.int8))),
        ):
            result = env.step(task, state_at(env, place), torch.tensor([[action]]), generator())
            assert divmod(result.state.cell.item(), len(walls[0])) == wanted
            assert result.reward.item() == (2.0 if wanted == goal else -0.5)
            assert result.terminated.item() == (ends and wanted == goal)
            assert env.reset(task, 1, generator())[0].cell.item() == start[0] * len(walls[0]) + start[1]

    def test_actions_are_stay_up_right_down_left(self):
        env = grid("varibad")
        result = env.step(
            Task(torch.tensor([[4, 4]])), state_at(env, *[(2, 2)] * 5), torch.tensor([[0, 1, 2, 3, 4]]), generator()
        )
        assert [divmod(cell, 5) for cell in result.state.cell[0].tolist()] == [(2, 2), (1, 2), (2, 3), (3, 2), (2, 1)]

    def test_varibad_pays_on_the_goal_and_never_ends(self):
        env = grid("varibad")
        task, state = Task(torch.tensor([[0, 2]])), state_at(env, (0, 1))
        rewards = []
        for action in (RIGHT, STAY, UP, LEFT, STAY):
            result = env.step(task, state, torch.tensor([[action]]), generator())
            state, _ = result.state, rewards.append(round(result.reward.item(), 6))
            assert not result.terminated.item()
        assert rewards == [1.0, 1.0, 1.0, -0.1, -0.1]

    def test_a_dense_step_pays_the_distance_in_board_widths(self):
        env = grid("beck2023-dense")
        task = Task(torch.tensor([[4, 2]]))
        result = env.step(
            task, state_at(env, (0, 0), (4, 1), (4, 3)), torch.tensor([[RIGHT, RIGHT, STAY]]), generator()
        )
        assert result.reward[0].tolist() == pytest.approx([-1.0, 1.0, -0.2])

    def test_a_row_of_a_batch_steps_exactly_as_it_would_alone(self, preset="random-walls-9"):
        env = grid(preset, obs="local")
        task, draws = env.sample_tasks(6, generator(1)), generator(2)
        state, _ = env.reset(task, 3, draws)
        for _ in range(15):
            action = env.random_actions(task, state, None, draws)
            result = env.step(task, state, action, draws)
            for i in range(6):
                alone = env.step(task[i : i + 1], state[i : i + 1, 1:2], action[i : i + 1, 1:2], generator())
                assert torch.equal(alone.obs[0, 0], result.obs[i, 1]) and alone.reward[0, 0] == result.reward[i, 1]
            state = result.state

    def test_slips_are_as_frequent_as_said_and_go_each_way(self):
        env, lanes = grid("slippery"), 100_000
        state = State(torch.full((1, lanes), 3 * 7 + 3))
        for action, share in ((STAY, 0.05), (UP, 0.05)):
            result = env.step(Task(torch.tensor([[6, 6]])), state, torch.full((1, lanes), action), generator())
            for towards, (row, column) in MOVES.items():
                seen = (result.state.cell == (3 + row) * 7 + 3 + column).double().mean().item()
                wanted = (0.8 if towards == action else 0) + (share if towards != STAY else 0)
                assert seen == pytest.approx(wanted, abs=0.005)

    def test_certain_slips_leave_nothing_to_the_action(self):
        env = grid("slippery", slip=1.0)
        state = State(torch.full((1, 10_000), 24))
        result = env.step(Task(torch.tensor([[6, 6]])), state, torch.zeros_like(state.cell), generator())
        assert set((result.state.cell - 24).unique().tolist()) == {-7, -1, 1, 7}


class TestObservation:
    def test_position_is_scaled_to_one(self):
        env = grid("hyperx-rooms")
        _, obs = env.reset(env.sample_tasks(1, generator()), 1, generator())
        assert obs.tolist() == [[[0.0, 0.0]]], "the start is the middle of the middle room"
        task = every_goal(grid("varibad"))[:1]
        for place, wanted in (((0, 0), [-1, -1]), ((4, 0), [1, -1]), ((2, 3), [0, 0.5])):
            env = grid("varibad")
            assert (
                env.step(task, state_at(env, place), torch.zeros(1, 1).long(), generator()).obs[0, 0].tolist() == wanted
            )

    def test_one_hot_marks_the_cell(self):
        env = grid("varibad", obs="one-hot")
        obs = env.step(every_goal(env)[:1], state_at(env, (1, 2)), torch.zeros(1, 1).long(), generator()).obs
        assert obs.shape == (1, 1, 25) and obs[0, 0].nonzero().tolist() == [[7]]

    @pytest.mark.parametrize("preset", ["random-walls-9", "four-rooms"])
    def test_the_local_view_shows_the_walls_around(self, preset):
        env = grid(preset, obs="local", terminate_at_goal=False)
        task, draws = env.sample_tasks(5, generator(3)), generator(4)
        walls = env.board.walls_of(task).tolist()
        state, obs = env.reset(task, 2, draws)
        for _ in range(25):
            for n, e in itertools.product(range(5), range(2)):
                row, column = divmod(state.cell[n, e].item(), env.config.width)
                around = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if (r, c) != (0, 0)]
                size = range(env.config.height)
                seen = [
                    row + r not in size or column + c not in size or walls[n][row + r][column + c] for r, c in around
                ]
                assert obs[n, e, 2:].bool().tolist() == seen
            result = env.step(task, state, env.random_actions(task, state, None, draws), draws)
            state, obs = result.state, result.obs

    @pytest.mark.parametrize("preset", PRESETS)
    @pytest.mark.parametrize("obs", ["position", "one-hot"])
    def test_the_task_cannot_be_read_from_it(self, preset, obs):
        env = grid(preset, obs=obs)
        task = env.sample_tasks(200, generator())
        _, first = env.reset(task, 2, generator())
        assert (first == first[0, 0]).all()
        cells = torch.arange(env.board.walls.numel()).expand(200, -1)
        if not env.board.randomized and env.config.slip == 0:  # elsewhere the same move may end in different places
            result = env.step(task, State(cells), torch.ones_like(cells), generator())
            told = (result.obs != result.obs[:1]).any(-1)
            allowed = result.state.cell == env.board.start if env.config.show_goal else torch.zeros_like(told)
            assert not told[~allowed].any()

    def test_the_start_shows_the_goal_once_a_step_ends_there(self):
        env = grid("beck2023-show", obs="one-hot")
        task = every_goal(env)
        state, first = env.reset(task, 1, generator())
        assert (first.argmax(-1) == env.board.start).all()
        result = env.step(task, state, torch.full((len(task), 1), STAY), generator())
        assert (result.obs.argmax(-1) == env.board.goal_cells(task)[:, None]).all()
        assert (result.state.cell == env.board.start).all()


class TestGivenTasks:
    def test_tasks_are_natural_dicts(self):
        env = grid("varibad")
        assert env.task_to_dicts(env.task_from_dicts([{"goal": [1, 2]}])) == [{"goal": [1, 2]}]
        task = {"goal": [0, 1], "walls": [[0, 0], [1, 0]]}
        env = grid("random-walls-9", width=2, height=2, held_out_every=0)
        assert env.task_to_dicts(env.task_from_dicts([task])) == [task]


@pytest.mark.parametrize(
    ("preset", "task", "said"),
    [
        ("four-rooms", {"goal": [0, 5]}, "The goal [0, 5] lies in a wall."),
        ("four-rooms", {"goal": [11, 0]}, "The task field 'goal' must lie in MultiDiscrete([11 11]), and [11, 0]"),
        ("four-rooms", {"goal": [0.5, 0]}, "The task field 'goal' must lie in"),
        ("four-rooms", {"goal": [0, 0], "walls": []}, "Unknown task field 'walls'."),
        ("random-walls-9", {"goal": [0, 1]}, "The task {'goal': [0, 1]} lacks the field 'walls'"),
    ],
)
def test_a_task_that_does_not_fit_is_answered_in_one_sentence(preset, task, said):
    with pytest.raises(envs.InputError) as caught:
        grid(preset).task_from_dicts([{"goal": [0, 1], "walls": [[0] * 9] * 9} if "random" in preset else task, task])
    message = str(caught.value)
    assert message.startswith(said) and message.endswith(".") and "\n" not in message


@pytest.mark.parametrize(
    ("walls", "said"),
    [
        ([[0, 1, 0], [1, 0, 0]], "There is no path from the start [0, 0] to the goal [1, 2]."),
        ([[0, 0, 0], [0, 0, 1]], "The goal [1, 2] lies in a wall."),
        ([[1, 0, 0], [0, 0, 0]], "The walls of a task must leave the start [0, 0] free."),
        ([[2, 0, 0], [0, 0, 0]], "The task field 'walls' must lie in MultiBinary"),
        ([[0, 0, 0]], "The task field 'walls' must lie in MultiBinary"),
    ],
)
def test_walls_that_hide_the_goal_are_refused(walls, said):
    env = grid("random-walls-9", width=3, height=2)
    with pytest.raises(envs.InputError) as caught:
        env.task_from_dicts([{"goal": [1, 2], "walls": [[0] * 3] * 2}, {"goal": [1, 2], "walls": walls}])
    assert str(caught.value).startswith(said)


class TestDarkRoom:
    def test_goals_are_split_80_10_10_over_all_cells(self):
        env = envs.make("dark-room")
        goals = [set(env.board.goals[split].tolist()) for split in ("train", "validation", "test")]
        assert [len(split) for split in goals] == [80, 10, 10] and set.union(*goals) == set(range(100))
        assert "ood" not in env.splits
        task = env.sample_tasks(30, generator(), "test")
        assert set(torch.unique(task.goal, dim=0, return_counts=True)[1].tolist()) == {3}, "each equally often"

    def test_a_goal_on_the_start_pays_who_stays(self):
        env = envs.make("dark-room")
        task = env.task_from_dicts([{"goal": [0, 0]}])
        for name in ("shortest path", "systematic search"):
            assert trial(env, name, task, 1).sum().item() == 100

    def test_states_to_ask_about_are_all_free_cells(self):
        env = grid("hyperx-rooms")
        state, obs = env.any_states(env.sample_tasks(2, generator()), 2000, generator())
        free = (~env.board.walls).flatten().nonzero()[:, 0].tolist()
        assert sorted(set(state.cell.flatten().tolist())) == free and obs.shape == (2, 2000, 2)


class TestPermutedActions:
    def test_an_action_does_what_the_task_says(self):
        env = envs.make("dark-room", "permuted")
        task = PermutedTask(torch.tensor([[9, 9]]), torch.tensor([[3, 1, 4, 0, 2]]))
        state = state_at(env, *[(2, 2)] * 5)
        moved = env.step(task, state, torch.tensor([[0, 1, 2, 3, 4]]), generator()).state.cell
        assert [divmod(cell, 10) for cell in moved[0].tolist()] == [(3, 2), (1, 2), (2, 1), (2, 2), (2, 3)]

    def test_the_shortest_path_knows_the_order(self):
        env = envs.make("dark-room", "permuted")
        task = env.sample_tasks(30, generator(), "test")
        assert (trial(env, "shortest path", task, 1).sum((1, 2, 3)) == 100 - 17).all(), "18 steps to the corner"

    def test_orders_are_split_100_10_10(self):
        env = envs.make("dark-room", "permuted")
        drawn = [
            env.sample_tasks(2000, generator(), split).order.unique(dim=0) for split in ("train", "validation", "test")
        ]
        assert [len(orders) for orders in drawn] == [100, 10, 10] and len(torch.cat(drawn).unique(dim=0)) == 120

    def test_what_is_no_order_is_refused(self):
        env = envs.make("dark-room", "permuted")
        with pytest.raises(envs.InputError, match="order"):
            env.task_from_dicts([{"goal": [9, 9], "order": [0, 0, 1, 2, 3]}])
