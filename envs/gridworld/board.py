"""The board that an environment and its references share: walls, goals, moves and the start.

A cell is a whole number, row * width + column; row 0 is the top one and column 0 the left one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from envs.errors import require
from envs.gridworld.layouts import ACTIONS, held_out, move_table, parse, split_goals
from envs.gridworld.task import GridWorldConfig, RandomWallsTask, Task


@dataclass(frozen=True, eq=False)
class Board:
    """A board of H * W cells."""

    walls: Tensor
    """[H, W] bool, of the layout; none where each task has walls of its own."""
    goals: Mapping[str, Tensor]
    """Cells [G] of the goals of each split."""
    moves: Tensor
    """[H * W * 5] int64, the cell that each action leads to, at cell * 5 + action."""
    start: int
    """Cell in which every episode starts."""
    randomized: bool
    """Does each task have walls of its own?"""

    @property
    def possible(self) -> Tensor:
        """Where the goals of train, validation and test lie [H * W] bool."""
        possible = torch.zeros_like(self.walls.flatten())
        possible[torch.cat([self.goals[split] for split in ("train", "validation", "test")])] = True
        return possible

    def walls_of(self, task: Task) -> Tensor:
        """The walls of each task [N, H, W] bool (of one task without a leading axis: [H, W])."""
        if isinstance(task, RandomWallsTask):
            return task.walls.bool()
        return self.walls.expand(*task.goal.shape[:-1], *self.walls.shape)

    def goal_cells(self, task: Task) -> Tensor:
        """The goal of each task as a cell [N]."""
        return task.goal[..., 0] * self.walls.shape[1] + task.goal[..., 1]

    def neighbours(self, cell: Tensor) -> Tensor:
        """Where each action leads from `cell` [N, E], apart from randomized walls: cells [N, E, 5]."""
        return self.moves[cell[..., None] * len(ACTIONS) + torch.arange(len(ACTIONS), device=cell.device)]


def make_board(config: GridWorldConfig, device: torch.device) -> Board:
    """The board of a configuration.

    Raises:
        InputError: when the start lies in a wall, or a split would have no goal.
    """
    shape, randomized = (config.height, config.width), config.layout == "random-walls"
    walls, allowed = torch.zeros(shape, dtype=torch.bool), torch.ones(shape, dtype=torch.bool)
    if config.layout not in ("open", "random-walls"):
        walls, allowed = parse(config.layout)
    require(not walls[config.start], f"The start {list(config.start)} lies in a wall of the layout.")
    every = 0 if config.permute_actions else config.held_out_every
    rules = config.start, config.min_goal_distance, config.max_goal_steps, every, config.shuffle_goals
    goals = {split: cells.to(device) for split, cells in split_goals(walls, allowed, *rules).items()}
    start = config.start[0] * config.width + config.start[1]
    return Board(walls.to(device), goals, move_table(walls).to(device), start, randomized)


def reward(config: GridWorldConfig, goal: Tensor, cell: Tensor) -> Tensor:
    """What a step pays that ends in `cell` while the goal is the cell `goal`; shapes are broadcast."""
    if not config.distance_reward:
        return torch.where(cell == goal, config.reward_goal, config.reward_step)
    rows, columns = cell // config.width - goal // config.width, cell % config.width - goal % config.width
    return torch.where(cell == goal, config.reward_goal, -(rows.abs() + columns.abs()) / config.width)


def describe_splits(config: GridWorldConfig, board: Board) -> dict[str, str]:
    """What each split holds, in words."""
    count = {split: len(cells) for split, cells in board.goals.items()}
    if config.permute_actions:
        rest = {"ood": f"{count['ood']} other goals, all orders of the actions"} if "ood" in count else {}
        orders = held_out(torch.arange(120), config.held_out_every)
        return {split: f"{len(orders[split])} orders of the actions, each as often" for split in orders} | rest
    every, walled = config.held_out_every, ", fresh walls" if board.randomized else ""
    words = {"train": f"{count['train']} goals, equally likely{walled}"}
    for split in ("validation", "test"):
        if every:
            order = "in an order drawn once for all" if config.shuffle_goals else "in row-major order"
            words[split] = f"{count[split]} others: one goal in every {every}, {order}{walled}"
        else:
            words[split] = f"the same {count[split]} goals: nothing is held out{walled}"
        words[split] += "; each as often as any other"
    if "ood" in count:
        words["ood"] = (
            f"the {count['ood']} places that those leave out, the start excepted{walled}; each as often as any other"
        )
    return words
