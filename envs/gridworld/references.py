"""Reference policies of the gridworld, batched over tasks and lanes.

`shortest path` and, where moves slip, `value iteration` know the task. The two searches do not: they carry the set of
places where the goal may still be through the episodes of a trial, and walk to the goal once they have found it. Value
iteration alone plans for slips.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from envs.core import Reference, Transition
from envs.gridworld.board import Board, reward
from envs.gridworld.layouts import ACTIONS, FAR, distances
from envs.gridworld.search import optimal_walk
from envs.gridworld.task import GridWorldConfig, PermutedTask, State, Task
from envs.structs import Struct

EXACT_CELLS = 25
"""Largest board, in cells, that gets the Bayes-optimal search."""

ROWS_FIRST = (0, 1, 3, 2, 4)
"""Order of moves: stay, then up and down, then right and left."""

TABLE_CELLS = 1_000
"""Largest board, in cells, that gets a table of all distances."""


@dataclass(frozen=True, eq=False)
class ShortestPath(Struct):
    """Memory of `shortest path`."""

    steps: Tensor  # [N, E, C] int16: from each cell to the goal


@dataclass(frozen=True, eq=False)
class Search(Struct):
    """Memory of the searches."""

    belief: Tensor  # [N, E, C] bool: the goal may be here
    walls: Tensor  # [N, E, C] bool: known walls
    time: Tensor  # [N, E] int64: steps since the trial began


def make_references(config: GridWorldConfig, board: Board) -> dict[str, Reference]:
    """The references of a board by name, beside `random`."""
    shortest = ShortestPathPolicy(board)
    references = {"shortest path": Reference(shortest.act, shortest.start)}
    if config.slip > 0:
        planner = ValueIteration(config, board)
        references["value iteration"] = Reference(planner.act, planner.start, planner.observe)
    if config.permute_actions:
        return references
    systematic = SystematicSearch(config, board)
    references["systematic search"] = Reference(systematic.act, systematic.start, systematic.observe)
    walk = bayes_optimal_walk(config, board)
    if walk is not None:
        optimal = BayesOptimalSearch(config, board, walk)
        references["Bayes-optimal search"] = Reference(optimal.act, optimal.start, optimal.observe)
    return references


@dataclass(frozen=True)
class ShortestPathPolicy:
    """Takes a shortest path to the goal, which it knows, first along its column, and stays there."""

    board: Board

    def start(self, task: Task, num_envs: int, generator: Generator) -> ShortestPath:
        """The distance of every cell from the goal of each task, once for all its lanes."""
        walls = self.board.walls_of(task)
        goal = torch.zeros_like(walls).flatten(1).scatter_(1, self.board.goal_cells(task)[:, None], True)
        steps = distances(~walls, goal.view_as(walls)).flatten(1)
        return ShortestPath(steps[:, None].expand(-1, num_envs, -1))

    def act(self, task: Task, state: State, memory: ShortestPath, generator: Generator) -> Tensor:
        """Actions [N, E]."""
        return as_actions(task, rows_first(memory.steps.gather(-1, self.board.neighbours(state.cell))))


@dataclass(frozen=True, eq=False)
class Plan(Struct):
    """Memory of value iteration."""

    move: Tensor  # [N, E, H, C] uint8, by time and cell
    time: Tensor  # [N, E] int64, steps since the episode began


@dataclass(frozen=True)
class ValueIteration:
    """Maximizes the expected return of the episode, with slips, toward a goal that it knows: an upper bound."""

    config: GridWorldConfig
    board: Board

    def start(self, task: Task, num_envs: int, generator: Generator) -> Plan:
        move = self.plan(task)
        time = torch.zeros(len(move), num_envs, dtype=torch.int64, device=move.device)
        return Plan(move[:, None].expand(-1, num_envs, -1, -1), time)

    def plan(self, task: Task) -> Tensor:
        """The best move by time and cell [N, H, C], by backward induction."""
        config, walls = self.config, self.board.walls_of(task).flatten(1)  # [N, C]
        cells = torch.arange(walls.shape[1], device=walls.device).expand_as(walls)
        after = self.board.neighbours(cells).flatten(1)  # [N, C * 5]
        here = cells[..., None].expand(-1, -1, len(ACTIONS)).flatten(1)
        after = torch.where(walls.gather(1, after), here, after)
        found = after == self.board.goal_cells(task)[:, None]
        pays = reward(config, self.board.goal_cells(task)[:, None], after).double()
        goes_on = (~found if config.terminate_at_goal else torch.ones_like(found)).double()
        value, moves = torch.zeros_like(walls, dtype=torch.float64), []
        for _ in range(config.horizon):
            gain = (pays + goes_on * value.gather(1, after)).view(*walls.shape, -1)  # [N, C, 5], of where one lands
            gain = (1 - config.slip) * gain + config.slip * gain[..., 1:].mean(-1, keepdim=True)
            value = gain.amax(-1)
            worse = gain <= value[..., None] - 1e-9
            moves.append(rows_first(worse).byte())
        return torch.stack(moves[::-1], 1)

    def observe(self, task: Task, memory: Plan, transition: Transition[State]) -> Plan:
        return replace(memory, time=(memory.time + 1) % self.config.horizon)

    def act(self, task: Task, state: State, memory: Plan, generator: Generator) -> Tensor:
        """Actions [N, E]."""
        n, e = (torch.arange(count, device=state.cell.device) for count in state.cell.shape)
        return as_actions(task, memory.move[n[:, None], e, memory.time, state.cell].long())


def as_actions(task: Task, move: Tensor) -> Tensor:
    """The actions that make these moves [N, E]."""
    return task.order.argsort(1).gather(1, move) if isinstance(task, PermutedTask) else move


def first_least(values: Tensor) -> Tensor:
    """Index of the least of `values` [N, E, X] int16, the first of equal ones (`argmin` alone may take any): [N, E]."""
    size = values.shape[-1]
    return (values.int() * size + torch.arange(size, dtype=torch.int32, device=values.device)).argmin(-1)


def rows_first(values: Tensor) -> Tensor:
    """The move with the least of `values` [N, E, 5] (numbers or bool), of equal ones the first of `ROWS_FIRST`: [N, E].

    DPT is taught these moves, and while it does not know the goal it plays a mean of them over possible goals. By the
    order of `ACTIONS`, which turns in a circle, it would hardly ever go left, and search one edge of the board.
    """
    order = torch.tensor(ROWS_FIRST, device=values.device)
    return order[first_least(values[..., order])]


class SystematicSearch:
    """Walks to the nearest place where the goal may still be; good, but not optimal.

    On randomized boards it assumes that a cell is free until it has bumped into it (with slips: in this episode). Where
    the start shows the goal, it first stays there; where rewards tell a distance, it rules out cells at another one.
    """

    def __init__(self, config: GridWorldConfig, board: Board) -> None:
        self.config, self.board = config, board
        self.prior = board.possible.clone()
        if config.show_goal:
            self.prior[board.start] = True  # there is something to see
        self.apart: Tensor | None = None  # [C, C] steps between cells, where they are known and the table is small
        if not board.randomized and len(self.prior) <= TABLE_CELLS:
            every = torch.eye(len(self.prior), dtype=torch.bool, device=self.prior.device).view(-1, *board.walls.shape)
            self.apart = distances((~board.walls).expand_as(every), every).flatten(1)

    def start(self, task: Task, num_envs: int, generator: Generator) -> Search:
        """The goal may be wherever one of any split but `ood` lies; walls are known unless they are randomized."""
        lanes = (len(task), num_envs)
        belief, walls = (x.expand(*lanes, -1) for x in (self.prior, self.board.walls.flatten()))
        return Search(belief, walls, torch.zeros(lanes, dtype=torch.int64, device=self.prior.device))

    def observe(self, task: Task, memory: Search, transition: Transition[State]) -> Search:
        """Rule out the cell that was entered, or all others when it paid as the goal does."""
        config, cell = self.config, transition.next_state.cell
        here = self._one_hot(cell)
        walls = certain = memory.walls
        if self.board.randomized:
            before = transition.state.cell
            target = self.board.moves[before * len(ACTIONS) + transition.action]
            bumped = (cell == before) & (target != before)
            walls = certain = (walls | self._one_hot(target) & bumped[..., None]) & ~here
            if config.slip > 0:  # a slip may have been taken for a wall: remember none for longer than an episode
                fresh = (memory.time + 1) % config.horizon == 0
                walls, certain = walls & ~fresh[..., None], torch.zeros_like(walls)
        found = transition.reward > (config.reward_goal + config.best_miss) / 2
        left = memory.belief & ~here
        if config.distance_reward:
            would_pay = reward(config, torch.arange(here.shape[-1], device=cell.device), cell[..., None])
            left = left & (would_pay == transition.reward[..., None])
        belief = torch.where(found[..., None], here, left) & ~certain
        if config.show_goal:
            on_start = (cell == self.board.start)[..., None]
            belief = torch.where(on_start, self._one_hot(self.board.goal_cells(task)[:, None]), belief)
        # A goal outside the prior (the split `ood`) leaves nothing over in the end: then it may be anywhere else.
        belief = torch.where(belief.any(-1, keepdim=True), belief, ~(certain | here))
        return Search(belief, walls, memory.time + 1)

    def _one_hot(self, cell: Tensor) -> Tensor:
        """[N, E] -> [N, E, C] bool."""
        return cell[..., None] == torch.arange(self.board.walls.numel(), device=cell.device)

    def act(self, task: Task, state: State, memory: Search, generator: Generator) -> Tensor:
        """Actions [N, E]; random ones where no such place can be reached, as after a slip taken for a wall."""
        around = self.board.neighbours(state.cell)
        if self.apart is not None:
            target = first_least(self.apart[state.cell].where(memory.belief, FAR))
            return first_least(self.apart[target[..., None], around])
        boards = (*state.cell.shape, *self.board.walls.shape)
        steps = distances(~memory.walls.view(boards), memory.belief.view(boards)).flatten(2)
        lost = steps.gather(-1, state.cell[..., None])[..., 0] == FAR
        wander = torch.randint(len(ACTIONS), state.cell.shape, generator=generator, device=state.cell.device)
        return torch.where(lost, wander, first_least(steps.gather(-1, around)))


def bayes_optimal_walk(config: GridWorldConfig, board: Board) -> Tensor | None:
    """The optimal walk of `envs.gridworld.search` as actions, or None where it is not defined or not exact.

    It needs moves without chance, known walls, an episode that does not end on the goal, and one prior for train and
    test alike, so no held-out goals.
    """
    defined = config.slip == 0 and not board.randomized and not config.terminate_at_goal and config.held_out_every == 0
    defined = defined and config.min_goal_distance > 0  # a goal on the start cannot be met by a move
    defined = defined and not (config.show_goal or config.distance_reward)  # which tell more than "not here"
    if not defined or board.walls.numel() > EXACT_CELLS:
        return None
    moves = tuple(tuple(row) for row in board.moves.view(-1, len(ACTIONS)).tolist())
    goals = tuple(board.goals["train"].tolist())
    found = optimal_walk(moves, board.start, goals, config.horizon, config.trial_episodes)
    return None if found is None else torch.tensor(found[1], device=board.walls.device)


class BayesOptimalSearch(SystematicSearch):
    """Follows the optimal walk while more than one place is left, then goes to the only one.

    Exact for a trial of `trial_episodes` full episodes; later ones find the goal known, or are searched
    systematically.
    """

    def __init__(self, config: GridWorldConfig, board: Board, walk: Tensor) -> None:
        super().__init__(config, board)
        self.walk = walk[: max(1, int(walk.ne(0).sum()))]  # the moves; what follows is of no account

    def act(self, task: Task, state: State, memory: Search, generator: Generator) -> Tensor:
        """Actions [N, E]."""
        searching = (memory.belief.sum(-1) > 1) & (memory.time < len(self.walk))
        planned = self.walk[memory.time.clamp_max(len(self.walk) - 1)]
        return torch.where(searching, planned, super().act(task, state, memory, generator))
