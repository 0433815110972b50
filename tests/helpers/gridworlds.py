"""A board in plain Python, and trials of a gridworld's references."""

from __future__ import annotations

from collections import deque

import torch
from hypothesis import strategies as st
from torch import Generator

import envs
from envs.gridworld import State, Task

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
