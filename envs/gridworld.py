"""Gridworlds: an agent searches a board for a goal that it is not told.

`varibad` is the GridNavi task of VariBAD (Zintgraf et al. 2020, section 5.1); its y axis points up and our rows count
downwards, so boards are mirrored. `hyperx-rooms` has the board, the corner goals and the horizon of the rooms of HyperX
(Zintgraf et al. 2021), but one goal that pays 1 in place of HyperX's chain of three that pay 1, 10 and 100 in turn.
The observation tells the position, never the goal, which can only be inferred from rewards. Randomized walls belong
to the hidden task too, unless `obs` is "local".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Generator, Tensor

from envs.core import Env, Reference, StepResult
from envs.errors import require
from envs.gridworld_layouts import (
    ACTIONS,
    FAR,
    FOUR_ROOMS,
    THREE_ROOMS,
    distances,
    move_table,
    observation_table,
    parse,
    random_walls,
    split_goals,
)
from envs.gridworld_references import Search, ShortestPath, make_references
from envs.gridworld_render import draw
from envs.structs import Struct

__all__ = ["PRESETS", "GridWorld", "GridWorldConfig", "RandomWallsTask", "Search", "ShortestPath", "State", "Task"]


@dataclass(frozen=True)
class GridWorldConfig:
    """Parameters of the gridworld family. Places are [row, column], counted from 0 at the top left."""

    width: int = 5
    """Cells in a row."""
    height: int = 5
    """Cells in a column."""
    layout: str = "open"
    """`open`; `random-walls`, drawn for each task; or a drawing: rows of `#` (wall), `.` (floor) and `G` (floor where
    goals may lie; without any, goals may lie anywhere), ended by `/` or newlines, of just `height` × `width` cells."""
    wall_fraction: float = 0.25
    """Probability of a wall in each cell of `random-walls`; boards that hide the goal are drawn again."""
    start: tuple[int, int] = (0, 0)
    """Place in which every episode starts."""
    min_goal_distance: int = 1
    """Goals lie at least this many rows or columns away from the start."""
    max_goal_steps: int = 0
    """Goals lie at most this many steps from the start (over the walls of `random-walls`); 0: anywhere."""
    held_out_every: int = 5
    """Every so-many-th goal in row-major order is in `test` only; 0: train and test hold all goals alike."""
    reward_goal: float = 1.0
    """Reward of a step that ends on the goal."""
    reward_step: float = -0.1
    """Reward of any other step."""
    terminate_at_goal: bool = False
    """Does the episode end on the goal? Otherwise the agent may stay there and be paid at every step."""
    slip: float = 0.0
    """Probability that the action is replaced by one of the four moves, each equally likely."""
    horizon: int = 15
    """Steps in an episode."""
    trial_episodes: int = 4
    """Episodes in the trial that the Bayes-optimal reference plans for; the environment itself does not count them."""
    obs: Literal["position", "one-hot", "local"] = "position"
    """`position`: row and column, each scaled to [-1, 1]; `one-hot`: over cells; `local`: the position, and which of
    the 8 cells around hold a wall or lie beyond the edge."""

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("height", 1), ("horizon", 1), ("trial_episodes", 1)):
            require(getattr(self, name) >= least, f"{name} must be at least {least}, not {getattr(self, name)}.")
        cells = self.width * self.height
        require(2 <= cells <= 10_000, f"A board must have 2 to 10,000 cells, not {cells}.")
        if self.layout not in ("open", "random-walls"):
            height, width = parse(self.layout)[0].shape
            require(
                (height, width) == (self.height, self.width),
                f"The drawn layout has {height} rows of {width} cells, so give height={height} and width={width}.",
            )
        inside = len(self.start) == 2 and all(
            isinstance(x, int) and 0 <= x < size for x, size in zip(self.start, (self.height, self.width), strict=True)
        )
        require(inside, f"start must be a place [row, column] on the {self.height} × {self.width} board.")
        for name, most in (("wall_fraction", 0.4), ("slip", 1.0)):
            value = getattr(self, name)
            require(0 <= value <= most, f"{name} must be a number from 0 to {most:g}, not {value}.")
        require(self.min_goal_distance >= 1, f"min_goal_distance must be at least 1, not {self.min_goal_distance}.")
        require(self.max_goal_steps >= 0, f"max_goal_steps must not be negative, as {self.max_goal_steps} is.")
        require(
            self.held_out_every == 0 or self.held_out_every >= 2,
            f"held_out_every must be 0 (no goal is held out) or at least 2, not {self.held_out_every}.",
        )
        require(
            math.isfinite(self.reward_goal) and math.isfinite(self.reward_step) and self.reward_goal > self.reward_step,
            f"reward_goal must be above reward_step, and {self.reward_goal} and {self.reward_step} are not so.",
        )
        known = ("position", "one-hot", "local")
        require(self.obs in known, f"obs must be 'position', 'one-hot' or 'local', not {self.obs!r}.")


PRESETS = {
    "varibad": GridWorldConfig(min_goal_distance=2, held_out_every=0),
    "varibad-one-hot": GridWorldConfig(min_goal_distance=2, held_out_every=0, obs="one-hot"),
    "varibad-held-out": GridWorldConfig(min_goal_distance=2),
    "open-7": GridWorldConfig(7, 7, max_goal_steps=9, horizon=25),
    "sparse-9": GridWorldConfig(9, 9, max_goal_steps=12, reward_step=0.0, horizon=40),
    "four-rooms": GridWorldConfig(11, 11, FOUR_ROOMS, max_goal_steps=16, terminate_at_goal=True, horizon=60),
    "random-walls-9": GridWorldConfig(9, 9, "random-walls", max_goal_steps=12, horizon=40),
    "slippery": GridWorldConfig(7, 7, max_goal_steps=9, slip=0.2, horizon=30),
    "hyperx-rooms": GridWorldConfig(15, 3, THREE_ROOMS, start=(1, 7), held_out_every=4, horizon=50),
}
"""In both `varibad`, train and test are the same 21 goals, as in the published protocol; all others hold goals out."""


@dataclass(frozen=True, eq=False)
class Task(Struct):
    goal: Tensor  # [N, 2] int64: row, column


@dataclass(frozen=True, eq=False)
class RandomWallsTask(Task):
    walls: Tensor  # [N, H, W] int8: 1 where there is a wall


@dataclass(frozen=True, eq=False)
class State(Struct):
    cell: Tensor  # [N, E] int64: row * width + column


class GridWorld(Env[Task, State]):
    """A board with a hidden goal. obs [N, E, O]: see `obs`. action [N, E]: 0 stay, 1 up, 2 right, 3 down, 4 left.

    Attributes:
        randomized: does each task have walls of its own?
        walls: [H, W] bool, of the layout; none when they are randomized.
        goals: cells [G] of the goals of each split.
        moves: [H * W * 5] int64, the cell that each action leads to, at cell * 5 + action.
    """

    def __init__(self, config: GridWorldConfig, device: torch.device) -> None:
        self.config, self.device, self.horizon = config, device, config.horizon
        shape = config.height, config.width
        self.randomized = config.layout == "random-walls"
        walls, allowed = torch.zeros(shape, dtype=torch.bool), torch.ones(shape, dtype=torch.bool)
        if config.layout not in ("open", "random-walls"):
            walls, allowed = parse(config.layout)
        require(not walls[config.start], f"The start {list(config.start)} lies in a wall of the layout.")
        self.start = config.start[0] * config.width + config.start[1]
        rules = config.start, config.min_goal_distance, config.max_goal_steps, config.held_out_every
        self.goals = {split: cells.to(device) for split, cells in split_goals(walls, allowed, *rules).items()}
        self.splits = self._describe_splits()
        self.walls, self.moves = walls.to(device), move_table(walls).to(device)
        table = observation_table(walls, config.obs)
        self._sees_walls = config.obs == "local" and self.randomized  # which a table of cells cannot tell
        self._table = (table[:, :2] if self._sees_walls else table).to(device)
        around = [r * (config.width + 2) + c for r in (-1, 0, 1) for c in (-1, 0, 1) if (r, c) != (0, 0)]
        self._around = torch.tensor(around, device=device)
        self.observation_space = spaces.Box(0.0 if config.obs == "one-hot" else -1.0, 1.0, table.shape[1:], np.float32)
        self.action_space = spaces.Discrete(len(ACTIONS))
        self.task_type = RandomWallsTask if self.randomized else Task
        fields: dict[str, spaces.Space] = {"goal": spaces.MultiDiscrete(list(shape))}
        if self.randomized:
            fields["walls"] = spaces.MultiBinary(shape)
        self.task_space = spaces.Dict(fields)

    def _describe_splits(self) -> dict[str, str]:
        count = {split: len(cells) for split, cells in self.goals.items()}
        every, walled = self.config.held_out_every, ", fresh walls" if self.randomized else ""
        words = {"train": f"{count['train']} goals, equally likely{walled}"}
        if every:
            words["test"] = f"the {count['test']} others: one goal in every {every}, in row-major order{walled}"
        else:
            words["test"] = f"the same {count['test']} goals: nothing is held out{walled}"
        if "ood" in count:
            words["ood"] = f"the {count['ood']} places that those leave out, the start excepted{walled}"
        return words

    def sample_tasks(self, n: int, generator: Generator, split: str = "train") -> Task:
        self.check_split(split)
        require(n >= 1, f"The number of tasks must be at least 1, not {n}.")
        cells, config = self.goals[split], self.config
        cell = cells[torch.randint(len(cells), (n,), generator=generator, device=self.device)]
        goal = torch.stack([cell // config.width, cell % config.width], -1)
        if not self.randomized:
            return Task(goal)
        walls = random_walls(cell, self.start, config.height, config.width, config.wall_fraction, generator)
        return RandomWallsTask(goal, walls)

    def task_from_dicts(self, dicts: Sequence[Mapping[str, Any]]) -> Task:
        """Tasks from plain dicts. Raises `InputError` also for a goal in a wall or without a path to it."""
        task = super().task_from_dicts(dicts)
        free = ~self.walls_of(task)
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

    def walls_of(self, task: Task) -> Tensor:
        """The walls of each task [N, H, W] bool (of one task without a leading axis: [H, W])."""
        if isinstance(task, RandomWallsTask):
            return task.walls.bool()
        return self.walls.expand(*task.goal.shape[:-1], *self.walls.shape)

    def goal_cells(self, task: Task) -> Tensor:
        """The goal of each task as a cell [N]."""
        return task.goal[..., 0] * self.config.width + task.goal[..., 1]

    def reset(self, task: Task, num_envs: int, generator: Generator) -> tuple[State, Tensor]:
        cell = torch.full((len(task.goal), num_envs), self.start, device=self.device)
        return State(cell), self._observe(task, cell)

    def step(self, task: Task, state: State, action: Tensor, generator: Generator) -> StepResult[State]:
        config = self.config
        if config.slip > 0:
            draw = torch.rand(action.shape, generator=generator, device=self.device)
            # A draw below `slip`, scaled up, is uniform again and picks the move.
            slipped = (draw * (4 / config.slip)).long().clamp_max(3) + 1
            action = torch.where(draw < config.slip, slipped, action)
        move = (state.cell * len(ACTIONS) + action).flatten()
        cell = self.moves.index_select(0, move).view_as(state.cell)
        if isinstance(task, RandomWallsTask):
            blocked = task.walls.flatten(1).gather(1, cell).bool()
            cell = torch.where(blocked, state.cell, cell)
        found = cell == self.goal_cells(task)[:, None]
        reward = torch.where(found, config.reward_goal, config.reward_step)
        terminated = found if config.terminate_at_goal else torch.zeros_like(found)
        return StepResult(State(cell), self._observe(task, cell), reward, terminated)

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
        """`random`; `shortest path`, told the task; `systematic search`; `Bayes-optimal search` where it is exact."""
        return {"random": Reference(self.random_actions), **make_references(self)}

    def render(self, task: Task, episode: State, earlier: Sequence[State] = (), size: int = 480) -> np.ndarray:
        possible = torch.zeros(self.walls.numel(), dtype=torch.bool, device=self.device)
        possible[torch.cat([self.goals["train"], self.goals["test"]])] = True
        return draw(
            self.walls_of(task).cpu(),
            (possible.view_as(self.walls) & ~self.walls_of(task)).cpu(),
            int(self.goal_cells(task)),
            self.start,
            episode.cell.flatten().tolist(),
            [past.cell.flatten().tolist() for past in earlier],
            size,
        )
