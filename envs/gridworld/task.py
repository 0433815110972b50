"""The gridworld family: its parameters and presets, what a task hides, and the state of an episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le
from torch import Tensor

from envs.errors import require
from envs.fields import Checked, Finite, Fraction, NonNegativeInt, PositiveInt
from envs.gridworld.layouts import FOUR_ROOMS, THREE_ROOMS, parse
from envs.structs import Struct


@dataclass(frozen=True)
class GridWorldConfig(Checked):
    """Parameters of the gridworld family. Places are [row, column], counted from 0 at the top left."""

    width: PositiveInt = 5
    """Cells in a row."""
    height: PositiveInt = 5
    """Cells in a column."""
    layout: str = "open"
    """`open`; `random-walls`, drawn for each task; or a drawing: rows of `#` (wall), `.` (floor) and `G` (floor where
    goals may lie; without any, goals may lie anywhere), ended by `/` or newlines, of just `height` × `width` cells."""
    wall_fraction: Annotated[float, Ge(0), Le(0.4)] = 0.25
    """Probability of a wall in each cell of `random-walls`; boards that cut off the goal are drawn again."""
    start: tuple[int, int] = (0, 0)
    """Place in which every episode starts."""
    min_goal_distance: NonNegativeInt = 1
    """Goals lie at least this many rows or columns away from the start; 0: also on it."""
    max_goal_steps: NonNegativeInt = 0
    """Goals lie at most this many steps from the start (over the walls of `random-walls`); 0: anywhere."""
    held_out_every: NonNegativeInt = 5
    """Every n-th goal, in row-major order, is in `test` only, and the one before it in `validation` only; 0: all splits
    but `ood` share all goals."""
    shuffle_goals: bool = False
    """Are goals counted in a random order, drawn once for all, instead of row-major order?"""
    reward_goal: Annotated[float, Finite] = 1.0
    """Reward of a step that ends on the goal."""
    reward_step: Annotated[float, Finite] = -0.1
    """Reward of any other step."""
    distance_reward: bool = False
    """Does any other step pay −(rows + columns from there to the goal) / width in place of `reward_step`?"""
    show_goal: bool = False
    """Is the observation after a step that ends on the start that of the goal's place in place of the agent's?"""
    terminate_at_goal: bool = False
    """Does the episode end on the goal? Otherwise the agent may stay there and is rewarded at every step."""
    slip: Fraction = 0.0
    """Probability that the action is replaced by one of the four moves, all equally likely."""
    horizon: PositiveInt = 15
    """Steps in an episode."""
    permute_actions: bool = False
    """Has each task an order of the five actions of its own? Then `held_out_every` counts these 120 orders instead."""
    trial_episodes: PositiveInt = 4
    """Episodes in the trial that the Bayes-optimal reference plans for; the environment itself does not count them."""
    obs: Literal["position", "one-hot", "local"] = "position"
    """`position`: row and column, each scaled to [-1, 1]; `one-hot`: over cells; `local`: the position, and which of
    the 8 cells around hold a wall or lie beyond the edge."""

    def __post_init__(self) -> None:
        super().__post_init__()
        cells = self.width * self.height
        require(2 <= cells <= 10_000, f"A board must have 2 to 10,000 cells, not {cells}.")
        if self.layout not in ("open", "random-walls"):
            height, width = parse(self.layout)[0].shape
            require(
                (height, width) == (self.height, self.width),
                f"The drawn layout has {height} rows of {width} cells, so give height={height} and width={width}.",
            )
        inside = 0 <= self.start[0] < self.height and 0 <= self.start[1] < self.width
        require(inside, f"start must be a place [row, column] on the {self.height} × {self.width} board.")
        require(
            not (self.permute_actions and self.layout == "random-walls"),
            "permute_actions has no use with layout='random-walls'; leave one of them out.",
        )
        require(
            not self.permute_actions or self.held_out_every <= 120,
            f"held_out_every must be at most the number of orders of the actions, 120, not {self.held_out_every}.",
        )
        require(
            self.held_out_every not in (1, 2),
            f"held_out_every must be 0 (no goal is held out) or at least 3, not {self.held_out_every}.",
        )
        require(
            self.reward_goal > self.best_miss,
            f"The goal must pay more than other steps: reward_goal={self.reward_goal} is not above {self.best_miss}.",
        )

    @property
    def best_miss(self) -> float:
        """The largest reward of a step that does not end on the goal."""
        return -1 / self.width if self.distance_reward else self.reward_step


PRESETS = {
    "varibad-one-hot": GridWorldConfig(min_goal_distance=2, held_out_every=0, obs="one-hot"),
    "varibad": GridWorldConfig(min_goal_distance=2, held_out_every=0),
    "varibad-held-out": GridWorldConfig(min_goal_distance=2),
    "beck2023-show": GridWorldConfig(min_goal_distance=2, held_out_every=0, show_goal=True),
    "beck2023-dense": GridWorldConfig(min_goal_distance=2, held_out_every=0, distance_reward=True),
    "open-7": GridWorldConfig(7, 7, max_goal_steps=9, horizon=25),
    "sparse-9": GridWorldConfig(9, 9, max_goal_steps=12, reward_step=0.0, horizon=40),
    "four-rooms": GridWorldConfig(11, 11, FOUR_ROOMS, max_goal_steps=16, terminate_at_goal=True, horizon=60),
    "random-walls-9": GridWorldConfig(9, 9, "random-walls", max_goal_steps=12, horizon=40),
    "slippery": GridWorldConfig(7, 7, max_goal_steps=9, slip=0.2, horizon=30),
    "hyperx-rooms": GridWorldConfig(15, 3, THREE_ROOMS, start=(1, 7), held_out_every=4, horizon=50),
}
"""In `varibad`, `varibad-one-hot` and both `beck2023`, train, validation and test are the same 21 goals, as in the
published protocols; all others hold goals out."""

CORNER = "/".join(["." * 10] * 9 + ["." * 9 + "G"])

DARK_ROOM_PRESETS = {
    "lee2023": GridWorldConfig(
        10, 10, min_goal_distance=0, held_out_every=10, shuffle_goals=True, reward_step=0.0, horizon=100
    ),
    "laskin2022": GridWorldConfig(
        9, 9, start=(4, 4), min_goal_distance=0, held_out_every=10, shuffle_goals=True, reward_step=0.0, horizon=20
    ),
    "permuted": GridWorldConfig(
        10, 10, CORNER, permute_actions=True, held_out_every=12, shuffle_goals=True, reward_step=0.0, horizon=100
    ),
}
"""Goals split at random, 80/20, and the 20 by half. The agent starts in a corner (Lee et al. 2023) or in the middle.
In `permuted` (also Lee et al. 2023) the goal is the opposite corner and the order of the actions is hidden: 100 for
training, 10 and 10 others."""


@dataclass(frozen=True, eq=False)
class Task(Struct):
    goal: Tensor  # [N, 2] int64: row, column


@dataclass(frozen=True, eq=False)
class RandomWallsTask(Task):
    walls: Tensor  # [N, H, W] int8: 1 where there is a wall


@dataclass(frozen=True, eq=False)
class PermutedTask(Task):
    order: Tensor  # [N, 5] int64: what each action does, one of the five


@dataclass(frozen=True, eq=False)
class State(Struct):
    cell: Tensor  # [N, E] int64: row * width + column
