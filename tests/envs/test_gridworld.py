"""Gridworlds against a board in plain Python: moves, tasks, references, the exact search, and pictures."""

import itertools
from collections import deque

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Generator

import envs
from envs.gridworld import PRESETS, GridWorldConfig, RandomWallsTask, State, Task
from envs.gridworld.layouts import FAR, distances
from envs.gridworld.search import optimal_walk

MOVES = {0: (0, 0), 1: (-1, 0), 2: (0, 1), 3: (1, 0), 4: (0, -1)}  # stay, up, right, down, left
STAY, UP, RIGHT, DOWN, LEFT = MOVES


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def grid(preset: str | None = None, **fields):
    return envs.make("gridworld", preset, **fields)


def after(walls, place, action):
    """Where an action leads on a board of nested lists of bool."""
    row, column = (x + dx for x, dx in zip(place, MOVES[action], strict=True))
    inside = 0 <= row < len(walls) and 0 <= column < len(walls[0])
    return (row, column) if inside and not walls[row][column] else tuple(place)


def steps_from(walls, source) -> dict[tuple[int, int], int]:
    """Breadth-first distances of the places that can be reached."""
    found, queue = {tuple(source): 0}, deque([tuple(source)])
    while queue:
        place = queue.popleft()
        for action in (UP, RIGHT, DOWN, LEFT):
            neighbour = after(walls, place, action)
            if neighbour not in found:
                found[neighbour] = found[place] + 1
                queue.append(neighbour)
    return found


def places(env, split) -> set[tuple[int, int]]:
    return {divmod(cell, env.config.width) for cell in env.board.goals[split].tolist()}


def state_at(env, *cells: tuple[int, int]) -> State:
    """One lane on each place, all of one task."""
    return State(torch.tensor([[row * env.config.width + column for row, column in cells]]))


def trial(env, name, task, num_episodes, seed=0, lanes=1):
    """Rewards [N, num_episodes, horizon, lanes] of a reference, with its memory carried through the trial."""
    reference, draws = env.references()[name], generator(seed)
    memory, rewards = reference.start(task, lanes, draws), []
    for _ in range(num_episodes):
        state, _ = env.reset(task, lanes, draws)
        for _ in range(env.horizon):
            action = reference.act(task, state, memory, draws)
            result = env.step(task, state, action, draws)
            seen = envs.Transition(state, action, result.reward, result.state, result.terminated)
            memory, state = reference.observe(task, memory, seen), result.state
            rewards.append(result.reward)
    return torch.stack(rewards, 1).unflatten(1, (num_episodes, env.horizon)).double()


def every_goal(env, split="train") -> Task:
    return Task(torch.tensor(sorted(places(env, split))))


boards = st.tuples(st.integers(1, 5), st.integers(2, 5)).flatmap(
    lambda size: st.lists(
        st.lists(st.booleans(), min_size=size[1], max_size=size[1]), min_size=size[0], max_size=size[0]
    )
)


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
            "height": len(walls), "width": len(walls[0]), "start": start, "held_out_every": 0,
            "terminate_at_goal": ends, "min_goal_distance": 1, "reward_goal": 2.0, "reward_step": -0.5,
        }  # fmt: skip
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
            seen = env.step(task, State(cells), torch.ones_like(cells), generator()).obs
            assert (seen == seen[:1]).all()


class TestTasks:
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

    def test_tasks_are_natural_dicts(self):
        env = grid("varibad")
        assert env.task_to_dicts(env.task_from_dicts([{"goal": [1, 2]}])) == [{"goal": [1, 2]}]
        task = {"goal": [0, 1], "walls": [[0, 0], [1, 0]]}
        env = grid("random-walls-9", width=2, height=2, held_out_every=0)
        assert env.task_to_dicts(env.task_from_dicts([task])) == [task]


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


class TestShortestPath:
    @pytest.mark.parametrize("preset", [name for name, config in PRESETS.items() if config.slip == 0])
    def test_its_return_follows_from_the_distance(self, preset):
        env = grid(preset, terminate_at_goal=False)
        for split in env.splits:
            task = env.sample_tasks(40, generator(8), split)
            rewards = trial(env, "shortest path", task, 1, lanes=2)
            for n, (goal, walls) in enumerate(zip(task.goal.tolist(), env.board.walls_of(task).tolist(), strict=True)):
                steps = steps_from(walls, env.config.start)[tuple(goal)]
                wanted = env.config.reward_step * (steps - 1) + env.config.reward_goal * (env.horizon - steps + 1)
                assert rewards[n, 0].sum(0).tolist() == pytest.approx([wanted] * 2, abs=1e-4)

    def test_it_terminates_where_the_goal_does(self):
        env = grid("four-rooms")
        task = env.task_from_dicts([{"goal": [0, 2]}])
        result = env.step(task, state_at(env, (0, 1)), torch.tensor([[RIGHT]]), generator())
        assert result.terminated.item() and result.reward.item() == 1.0


class TestSearch:
    @pytest.mark.parametrize("preset", [name for name, config in PRESETS.items() if config.slip == 0])
    def test_it_finds_every_goal_and_then_goes_straight(self, preset):
        env = grid(preset, terminate_at_goal=False)
        for split in ("train", "test"):
            task = env.sample_tasks(60, generator(9), split)
            rewards = trial(env, "systematic search", task, 6)
            assert (rewards[:, -2, -1] == env.config.reward_goal).all(), "found by the fifth episode"
            if not env.board.randomized:
                best = trial(env, "shortest path", task, 1)[:, 0].sum(1)
                assert torch.allclose(rewards[:, -1].sum(1), best)

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


def total_gain(moves, start, goals, horizon, walk) -> int:
    """Steps on the goal, summed over goals, of a walk followed until the goal is met: by simulation."""
    steps = {start: 0}
    queue = deque([start])
    while queue:
        cell = queue.popleft()
        for other in moves[cell]:
            if other not in steps:
                steps[other] = steps[cell] + 1
                queue.append(other)
    total = 0
    for goal in goals:
        known = False
        for episode in range(len(walk) // horizon):
            if known:
                total += horizon + 1 - steps[goal]
                continue
            cell = start
            for t in range(horizon):
                cell = goal if known else moves[cell][walk[episode * horizon + t]]
                known = known or cell == goal
                total += known
    return total


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

    def test_an_episode_too_short_for_any_goal_is_no_trouble(self):
        env = grid("varibad", horizon=1)
        assert (trial(env, "Bayes-optimal search", every_goal(env), 5) < 0).all()

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

    @pytest.mark.parametrize(
        "fields",
        [{"slip": 0.1}, {"terminate_at_goal": True}, {"held_out_every": 5}, {"layout": "random-walls"}, {"width": 9}],
    )
    def test_it_is_offered_only_where_it_is_exact(self, fields):
        assert "Bayes-optimal search" in grid("varibad").references()
        assert "Bayes-optimal search" not in grid("varibad", **fields).references()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"width": 0}, "width must be at least 1, not 0."),
        ({"horizon": 0}, "horizon must be at least 1, not 0."),
        ({"trial_episodes": 0}, "trial_episodes must be at least 1, not 0."),
        ({"width": 1, "height": 1}, "A board must have 2 to 10,000 cells, not 1."),
        ({"layout": "opn"}, "layout must be 'open', 'random-walls' or a drawing of '#', '.' and 'G', with rows ended"),
        ({"layout": ""}, "layout must be 'open', 'random-walls' or a drawing"),
        ({"layout": "...../.."}, "The rows of a drawn layout must all have the same length."),
        ({"layout": ".../..."}, "The drawn layout has 2 rows of 3 cells, so give height=2 and width=3."),
        (
            {"layout": ".#./##./...", "width": 3, "height": 3},
            "The layout has no path from the start [0, 0] to any goal.",
        ),
        ({"layout": "#../...", "width": 3, "height": 2}, "The start [0, 0] lies in a wall of the layout."),
        ({"start": (5, 0)}, "start must be a place [row, column] on the 5 × 5 board."),
        ({"start": (0,)}, "start must be a place"),
        ({"start": (0.5, 1)}, "start must be a place"),
        ({"wall_fraction": 0.6}, "wall_fraction must be a number from 0 to 0.4, not 0.6."),
        ({"slip": -0.1}, "slip must be a number from 0 to 1, not -0.1."),
        ({"slip": float("nan")}, "slip must be a number from 0 to 1, not nan."),
        ({"min_goal_distance": 0}, "min_goal_distance must be at least 1, not 0."),
        ({"min_goal_distance": 9}, "The layout has no path from the start [0, 0] to any goal."),
        ({"max_goal_steps": -1}, "max_goal_steps must not be negative, as -1 is."),
        ({"held_out_every": 1}, "held_out_every must be 0 (no goal is held out) or at least 2, not 1."),
        ({"held_out_every": 50}, "held_out_every must be at most the number of goals, 21, not 50."),
        ({"reward_goal": -0.1}, "reward_goal must be above reward_step, and -0.1 and -0.1 are not so."),
        ({"reward_step": float("nan")}, "reward_goal must be above reward_step"),
        ({"obs": "pixels"}, "obs must be 'position', 'one-hot' or 'local', not 'pixels'."),
    ],
)
def test_a_wrong_parameter_is_answered_in_one_sentence(fields, said):
    with pytest.raises(envs.InputError) as caught:
        grid("varibad", **fields)
    message = str(caught.value)
    assert message.startswith(said) and message.endswith(".") and "\n" not in message


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


def test_drawings_may_use_slashes_or_lines():
    config = GridWorldConfig(3, 2, "..#/...")
    assert grid(width=3, height=2, layout="\n..#\n...\n").board.walls.tolist() == [[False, False, True], [False] * 3]
    assert grid(width=3, height=2, layout=config.layout, min_goal_distance=1, held_out_every=0).board.goals[
        "train"
    ].tolist() == [1, 3, 4, 5]


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
