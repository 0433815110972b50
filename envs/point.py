"""2D navigation: a point moves to a hidden goal.

`finn2017`: Finn et al. 2017 (MAML), section 5.3; `semicircle`: Rakelly et al. 2019 (PEARL), Zintgraf et al. 2020
(VariBAD). The observation is only the position, so the goal must be inferred from rewards.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Gt, Le
from gymnasium import spaces
from PIL import Image, ImageDraw
from torch import Generator, Tensor

from envs.core import Env, Reference, StepResult, fresh_splits
from envs.errors import require
from envs.fields import Checked, NonNegativeFloat, PositiveFloat, PositiveInt
from envs.structs import Struct


@dataclass(frozen=True)
class PointConfig(Checked):
    """Parameters of the 2D navigation family. Lengths are in metres, as in the papers."""

    goals: Literal["box", "semicircle"] = "box"
    """Where goals lie: in a square around the start, or on a half circle around it."""
    goal_scale: Annotated[float, Gt(0), Le(1)] = 0.5
    """Half the side of the square, or the radius of the half circle."""
    reward: Literal["squared", "distance", "sparse"] = "squared"
    """Negative squared distance, negative distance, or `sparse_radius`-gated (1 - distance)."""
    sparse_radius: PositiveFloat = 0.2
    """Distance within which the sparse reward pays."""
    max_step: PositiveFloat = 0.1
    """Largest move along each axis in one step; an action of 1 moves by this much."""
    goal_tolerance: NonNegativeFloat = 0.01
    """An episode terminates when both coordinates are this close to the goal; 0 means never."""
    horizon: PositiveInt = 100
    """Steps in an episode."""


PRESETS = {
    "finn2017": PointConfig(),
    "finn2017-distance": PointConfig(reward="distance"),
    "semicircle": PointConfig("semicircle", 1.0, "distance", goal_tolerance=0.0, horizon=20),
    "semicircle-sparse": PointConfig("semicircle", 1.0, "sparse", goal_tolerance=0.0, horizon=20),
    "semicircle-sparse-varibad": PointConfig("semicircle", 1.0, "sparse", goal_tolerance=0.0, horizon=100),
}


@dataclass(frozen=True, eq=False)
class Task(Struct):
    goal: Tensor  # [N, 2] m


@dataclass(frozen=True, eq=False)
class State(Struct):
    position: Tensor  # [N, E, 2] m


class Point(Env[Task, State]):
    """2D navigation. obs [N, E, 2]: position in m. action [N, E, 2]: in [-1, 1], times `max_step` m."""

    task_type = Task
    oracle = "straight line"

    def __init__(self, config: PointConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.horizon = config.horizon
        reach = np.float32(config.max_step * (config.horizon + 1))
        self.observation_space = spaces.Box(-reach, reach, (2,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.task_space = spaces.Dict(goal=spaces.Box(-2.0, 2.0, (2,), np.float32))
        s = config.goal_scale
        if config.goals == "box":
            train, ood = (
                f"goals uniform in [-{s:g}, {s:g}]² m",
                f"goals between that box and one of twice its side, {2 * s:g} m",
            )
        else:
            train, ood = f"goals uniform on the upper half circle of radius {s:g} m", "goals on the lower half circle"
        self.splits = fresh_splits(train, ood)

    def sample_tasks(self, n: int, generator: Generator, split: str = "train") -> Task:
        self.check_split(split)
        require(n >= 1, f"The number of tasks must be at least 1, not {n}.")
        scale = self.config.goal_scale
        if self.config.goals == "semicircle":
            angle = math.pi * self._uniform(generator, n) + (math.pi if split == "ood" else 0.0)
            return Task(scale * torch.stack([angle.cos(), angle.sin()], -1))
        goal = scale * (2 * self._uniform(generator, n, 2) - 1)
        if split != "ood":
            return Task(goal)
        # Uniform over the frame between the box and its double: scale each draw, radially in the maximum norm,
        # to a radius r with r² uniform in (s², 4s²].
        radius = scale * torch.sqrt(4 - 3 * self._uniform(generator, n, 1))
        return Task(goal / goal.abs().amax(-1, keepdim=True).clamp_min(1e-12) * radius)

    def _uniform(self, generator: Generator, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=self.device)

    def reset(self, task: Task, num_envs: int, generator: Generator) -> tuple[State, Tensor]:
        position = torch.zeros(len(task.goal), num_envs, 2, device=self.device)
        return State(position), position

    def any_states(self, task: Task, num_envs: int, generator: Generator) -> tuple[State, Tensor]:
        """Uniform over the square that holds the goals of training."""
        position = self.config.goal_scale * (2 * self._uniform(generator, len(task.goal), num_envs, 2) - 1)
        return State(position), position

    def step(self, task: Task, state: State, action: Tensor, generator: Generator) -> StepResult[State]:
        position = state.position + self.config.max_step * action.clamp(-1.0, 1.0)
        offset = position - task.goal.unsqueeze(1)
        squared = offset.square().sum(-1)
        if self.config.reward == "squared":
            reward = -squared
        elif self.config.reward == "distance":
            reward = -squared.sqrt()
        else:
            distance = squared.sqrt()
            reward = torch.where(distance <= self.config.sparse_radius, 1 - distance, 0.0)
        terminated = offset.abs().amax(-1) < self.config.goal_tolerance
        return StepResult(State(position), position, reward, terminated)

    def straight_line(self, task: Task, state: State, memory: None, generator: Generator) -> Tensor:
        """Moves straight to the goal, which it knows: optimal up to the last fraction of a step."""
        offset = (task.goal[:, None] - state.position) / self.config.max_step
        return offset / offset.abs().amax(-1, keepdim=True).clamp_min(1.0)

    def references(self) -> dict[str, Reference]:
        return {"random": Reference(self.random_actions), "straight line": Reference(self.straight_line)}

    def render(self, task: Task, episode: State, earlier: Sequence[State] = (), size: int = 480) -> np.ndarray:
        over = 3  # drawn three times as large and reduced, for smooth lines
        half = 1.3 * max(self.config.goal_scale, float(task.goal.abs().max()))  # fixed by the task: the view stays
        u = over * max(size / 360, 0.6)  # the unit of widths and radii

        def pixels(points: Tensor) -> list[tuple[float, float]]:
            xy = points.reshape(-1, 2).double().cpu() / half
            return [((1 + x) / 2 * size * over, (1 - y) / 2 * size * over) for x, y in xy.tolist()]

        image = Image.new("RGB", (size * over, size * over), "#f4f6f9")
        draw = ImageDraw.Draw(image)
        self._draw_goal_region(draw, pixels, u)
        (goal,), path = pixels(task.goal), pixels(episode.position)
        halo = self.config.sparse_radius / half * size * over / 2 if self.config.reward == "sparse" else 20 * u
        draw.circle(goal, halo, fill="#fde6dc")
        for age, past in enumerate(reversed(earlier)):
            grey = min(204 + 10 * age, 226)
            draw.line(pixels(past.position), fill=(grey, grey + 4, grey + 10), width=round(2 * u), joint="curve")
        draw.circle(path[0], 4.5 * u, fill="#ffffff", outline="#7b8594", width=round(2 * u))
        for i, (a, b) in enumerate(itertools.pairwise(path), 2):
            fresh = max(0.0, 1 - (len(path) - i) / 15)  # recent moves are dark, older ones fade
            blue = tuple(round(old + fresh * (new - old)) for old, new in ((143, 31), (180, 95), (240, 214)))
            draw.line((a, b), fill=blue, width=round(2.6 * u))
            draw.circle(b, 2.1 * u, fill=blue)
        draw.circle(goal, 10 * u, outline="#e2582f", width=round(2.6 * u))
        draw.circle(goal, 4 * u, fill="#e2582f")
        x, y = (min(max(v, 6 * u), size * over - 6 * u) for v in path[-1])
        inside = (x, y) == path[-1]  # a point beyond the edge shows as a hollow mark on it
        draw.circle((x, y), 7.5 * u, fill="#ffffff")
        draw.circle((x, y), 5.5 * u, fill="#12306e" if inside else "#ffffff", outline="#12306e", width=round(1.5 * u))
        return np.asarray(image.reduce(over))

    def _draw_goal_region(self, draw: ImageDraw.ImageDraw, pixels, u: float) -> None:
        """Where training goals can lie."""
        s = self.config.goal_scale
        (left, top), (right, bottom) = pixels(torch.tensor([[-s, s], [s, -s]]))
        if self.config.goals == "box":
            draw.rounded_rectangle((left, top, right, bottom), 6 * u, fill="#ffffff", outline="#dfe4ea", width=round(u))
        else:
            draw.arc((left, top, right, bottom), 180, 360, fill="#cfd6df", width=round(2 * u))
