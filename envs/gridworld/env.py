"""Gridworlds: an agent searches a board for a hidden goal.

`varibad` is the GridNavi task of VariBAD (Zintgraf et al. 2020, section 5.1); its y axis points up and our rows count
downwards, so boards are mirrored. `hyperx-rooms` has the board, the corner goals and the horizon of the rooms of HyperX
(Zintgraf et al. 2021), but one goal that pays 1 in place of HyperX's chain of three that pay 1, 10 and 100 in turn.
`beck2023-show` and `beck2023-dense` are the variants of GridNavi in the code of Beck et al. 2023. The observation shows
the position and, unless `show_goal` is set, never the goal, which can only be inferred from rewards. Randomized walls
belong to the hidden task too, unless `obs` is "local".
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Generator, Tensor

from envs.core import Env, Reference, StepResult, equal_counts
from envs.errors import require
from envs.gridworld.board import describe_splits, make_board, reward
from envs.gridworld.layouts import ACTIONS, FAR, distances, held_out, observation_table, random_walls, shuffled
from envs.gridworld.references import make_references
from envs.gridworld.render import draw
from envs.gridworld.task import GridWorldConfig, PermutedTask, RandomWallsTask, State, Task


class GridWorld(Env[Task, State]):
    """A board with a hidden goal. obs [N, E, O]: see `obs`. action [N, E]: 0 stay, 1 up, 2 right, 3 down, 4 left.

    Attributes:
        board: walls, goals, moves and the start.
    """

    oracle = "shortest path"

    def __init__(self, config: GridWorldConfig, device: torch.device) -> None:
        self.config, self.device, self.horizon = config, device, config.horizon
        self.oracle = "value iteration" if config.slip > 0 else "shortest path"
        self.board = board = make_board(config, device)
        self.splits = describe_splits(config, board)
        table = observation_table(board.walls.cpu(), config.obs)
        self._sees_walls = config.obs == "local" and board.randomized  # which a table of cells cannot tell
        self._table = (table[:, :2] if self._sees_walls else table).to(device)
        around = [r * (config.width + 2) + c for r in (-1, 0, 1) for c in (-1, 0, 1) if (r, c) != (0, 0)]
        self._around = torch.tensor(around, device=device)
        self.observation_space = spaces.Box(0.0 if config.obs == "one-hot" else -1.0, 1.0, table.shape[1:], np.float32)
        self.action_space = spaces.Discrete(len(ACTIONS))
        self.task_type = PermutedTask if config.permute_actions else RandomWallsTask if board.randomized else Task
        orders = torch.tensor(list(itertools.permutations(range(len(ACTIONS)))))[shuffled(120)]
        self.orders = {"ood": orders, **held_out(orders, config.held_out_every)}  # of permuted actions [O, 5], by split
        fields: dict[str, spaces.Space] = {"goal": spaces.MultiDiscrete([config.height, config.width])}
        if board.randomized:
            fields["walls"] = spaces.MultiBinary([config.height, config.width])
        if config.permute_actions:
            fields["order"] = spaces.MultiDiscrete([len(ACTIONS)] * len(ACTIONS))
        self.task_space = spaces.Dict(fields)

    def sample_tasks(self, n: int, generator: Generator, split: str = "train") -> Task:
        self.check_split(split)
        require(n >= 1, f"The number of tasks must be at least 1, not {n}.")
        cells, config = self.board.goals[split], self.config

        def choose(kinds: Tensor) -> Tensor:
            if split == "train":
                return kinds[torch.randint(len(kinds), (n,), generator=generator, device=self.device)]
            return kinds[equal_counts(n, len(kinds), generator)]

        cell = choose(cells)
        goal = torch.stack([cell // config.width, cell % config.width], -1)
        if config.permute_actions:
            return PermutedTask(goal, choose(self.orders[split].to(self.device)))
        if not self.board.randomized:
            return Task(goal)
        walls = random_walls(cell, self.board.start, config.height, config.width, config.wall_fraction, generator)
        return RandomWallsTask(goal, walls)

    def task_from_dicts(self, dicts: Sequence[Mapping[str, Any]]) -> Task:
        """Tasks from plain dicts. Raises `InputError` also for a goal in a wall or without a path to it."""
        task = super().task_from_dicts(dicts)
        if isinstance(task, PermutedTask):
            for order in task.order.tolist():
                require(sorted(order) == [*range(len(ACTIONS))], f"The order must be one of 0 to 4, not {order}.")
        free = ~self.board.walls_of(task)
        row, column = self.config.start
        origin = torch.zeros_like(free)
        origin[:, row, column] = True
        steps = distances(free, origin)
        for goal, open_goal, open_start, far in zip(
            task.goal.tolist(),
            self._at(free, task.goal).tolist(),
            free[:, row, column].tolist(),
            (self._at(steps, task.goal) == FAR).tolist(),
            strict=True,
        ):
            require(open_start, f"The walls of a task must leave the start {[row, column]} free.")
            require(open_goal, f"The goal {goal} lies in a wall.")
            require(not far, f"There is no path from the start {[row, column]} to the goal {goal}.")
        return task

    @staticmethod
    def _at(board: Tensor, place: Tensor) -> Tensor:
        """Entries [N] of boards [N, H, W] at places [N, 2]."""
        return board[torch.arange(len(board), device=board.device), place[:, 0], place[:, 1]]

    def reset(self, task: Task, num_envs: int, generator: Generator) -> tuple[State, Tensor]:
        cell = torch.full((len(task.goal), num_envs), self.board.start, device=self.device)
        return State(cell), self._observe(task, cell)

    def any_states(self, task: Task, num_envs: int, generator: Generator) -> tuple[State, Tensor]:
        """Uniform over the cells without a wall."""
        free = (~self.board.walls_of(task)).flatten(1).float()
        cell = torch.multinomial(free, num_envs, replacement=True, generator=generator)
        return State(cell), self._observe(task, cell)

    def step(self, task: Task, state: State, action: Tensor, generator: Generator) -> StepResult[State]:
        config = self.config
        if isinstance(task, PermutedTask):
            action = task.order.gather(1, action)
        if config.slip > 0:
            uniform = torch.rand(action.shape, generator=generator, device=self.device)
            # A number below `slip`, scaled up, is uniform again and picks the move.
            slipped = (uniform * (4 / config.slip)).long().clamp_max(3) + 1
            action = torch.where(uniform < config.slip, slipped, action)
        move = (state.cell * len(ACTIONS) + action).flatten()
        cell = self.board.moves.index_select(0, move).view_as(state.cell)
        if isinstance(task, RandomWallsTask):
            blocked = task.walls.flatten(1).gather(1, cell).bool()
            cell = torch.where(blocked, state.cell, cell)
        goal = self.board.goal_cells(task)[:, None]
        terminated = cell == goal if config.terminate_at_goal else torch.zeros_like(cell, dtype=torch.bool)
        shown = torch.where(cell == self.board.start, goal, cell) if config.show_goal else cell
        return StepResult(State(cell), self._observe(task, shown), reward(config, goal, cell), terminated)

    def _observe(self, task: Task, cell: Tensor) -> Tensor:
        obs = self._table.index_select(0, cell.flatten()).view(*cell.shape, -1)
        if not self._sees_walls:
            return obs
        assert isinstance(task, RandomWallsTask)
        wide = F.pad(task.walls, (1, 1, 1, 1), value=1).flatten(1)  # [N, (H + 2) * (W + 2)]
        width = self.config.width
        centre = (cell // width + 1) * (width + 2) + cell % width + 1
        seen = (centre[..., None] + self._around).flatten(1)  # [N, E * 8]
        return torch.cat([obs, wide.gather(1, seen).view(*cell.shape, -1).to(obs.dtype)], -1)

    def references(self) -> dict[str, Reference]:
        """`random`, `shortest path`, `systematic search`; `value iteration` where moves slip; and where it is exact,
        `Bayes-optimal search`.

        Where actions are permuted, there are no searches.
        """
        return {"random": Reference(self.random_actions), **make_references(self.config, self.board)}

    def render(self, task: Task, episode: State, earlier: Sequence[State] = (), size: int = 480) -> np.ndarray:
        walls = self.board.walls_of(task)
        return draw(
            walls.cpu(),
            (self.board.possible.view_as(walls) & ~walls).cpu(),
            int(self.board.goal_cells(task)),
            self.board.start,
            episode.cell.flatten().tolist(),
            [past.cell.flatten().tolist() for past in earlier],
            size,
        )
