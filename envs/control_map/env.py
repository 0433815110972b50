"""Reaching under a hidden control map: the goal is seen, and what an action does must be found out.

x' = x + max_step * M a, with an action a in [-1, 1]² and the map M = gain * rotation * (reflection or identity). The
reward is -|x' - goal|. The task is M alone: each episode has a new goal, so that only knowledge of M helps in the next.

People and animals adapt to such maps in studies of motor learning (visuomotor rotation: Krakauer et al. 2000). In
`changing`, an episode has several goals, and the map may change with each: the task holds a map for every goal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor

from envs.control_map.references import current_map, make_references
from envs.control_map.render import draw
from envs.control_map.task import MOST_GAIN, ControlMapConfig, State, Task
from envs.core import Env, Reference, StepResult, fresh_splits
from envs.errors import require


class ControlMap(Env[Task, State]):
    """Reaching. obs [N, E, 4]: position, then goal - position, in m. action [N, E, 2]: in [-1, 1], through the map."""

    task_type = Task

    def __init__(self, config: ControlMapConfig, device: torch.device) -> None:
        self.config, self.device, self.horizon = config, device, config.horizon
        far = np.float32(config.max_step * MOST_GAIN * 2**0.5 * (config.horizon + 1) + config.goal_distance)
        self.observation_space = spaces.Box(-far, far, (4,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        shape = (config.num_reaches, 2, 2)
        self.task_space = spaces.Dict(control=spaces.Box(-MOST_GAIN, MOST_GAIN, shape, np.float32))
        self.splits = self._describe_splits()

    def _describe_splits(self) -> dict[str, str]:
        config, half = self.config, self.config.held_out / 2
        low, high = config.min_gain, config.max_gain
        gain = f"gain {low:g}" if low == high else f"gain uniform in [{low:g}, {high:g}]"
        rest = f"{gain}{', half of them mirrored' if config.reflections else ''}"
        if config.change_probability > 0:
            rest += f"; at each new goal within an episode, another map with probability {config.change_probability:g}"
        if half == 0:
            train = f"maps with any rotation, {rest}"
            return fresh_splits(train)
        train = f"maps with any rotation farther than {half:g}° from ±90°, {rest}"
        return fresh_splits(train, f"rotations within {half:g}° of ±90°, {rest}")

    def sample_tasks(self, n: int, generator: Generator, split: str = "train") -> Task:
        self.check_split(split)
        require(n >= 1, f"The number of tasks must be at least 1, not {n}.")
        config, shape = self.config, (n, self.config.num_reaches)
        along, opposite, gain, mirrored, changed = torch.rand(5, *shape, generator=generator, device=self.device)
        held_out = math.radians(config.held_out)
        width, centre = (held_out, math.pi / 2) if split == "ood" else (math.pi - held_out, 0.0)
        angle = centre + (along - 0.5) * width + math.pi * (opposite < 0.5)
        gain = config.min_gain + (config.max_gain - config.min_gain) * gain
        sign = torch.where((mirrored < 0.5) & config.reflections, -1.0, 1.0)
        cos, sin = gain * angle.cos(), gain * angle.sin()
        fresh = torch.stack([torch.stack([cos, -sign * sin], -1), torch.stack([sin, sign * cos], -1)], -2)
        maps = [fresh[:, 0]]
        for r in range(1, config.num_reaches):
            changes = changed[:, r] < config.change_probability
            maps.append(torch.where(changes[:, None, None], fresh[:, r], maps[-1]))
        return Task(torch.stack(maps, 1))

    def task_from_dicts(self, dicts: Sequence[Mapping[str, Any]]) -> Task:
        """Tasks from plain dicts. Raises `InputError` also for a map that is no gain times a rotation or reflection."""
        task = super().task_from_dicts(dicts)
        product = task.control.mT @ task.control  # gain² times the identity
        squared = product.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
        error = (product - squared * torch.eye(2, device=self.device)).abs()
        for entry, right in zip(dicts, ((error <= 1e-4 * squared) & (squared > 0)).flatten(1).all(1), strict=True):
            require(
                bool(right),
                f"The task field 'control' must be a gain times a rotation or reflection: {entry['control']}.",
            )
        return task

    def reset(self, task: Task, num_envs: int, generator: Generator) -> tuple[State, Tensor]:
        time = torch.zeros(len(task.control), num_envs, dtype=torch.int64, device=self.device)
        goal = self._draw_goals(time.shape, generator)
        state = State(torch.zeros_like(goal), goal, time)
        return state, self._observe(state)

    def _draw_goals(self, lanes: torch.Size, generator: Generator) -> Tensor:
        angle = 2 * math.pi * torch.rand(lanes, generator=generator, device=self.device)
        return self.config.goal_distance * torch.stack([angle.cos(), angle.sin()], -1)

    def _observe(self, state: State) -> Tensor:
        return torch.cat([state.position, state.goal - state.position], -1)

    def step(self, task: Task, state: State, action: Tensor, generator: Generator) -> StepResult[State]:
        config = self.config
        (a, b), (c, d) = (row.unbind(-1) for row in current_map(task, state, config).unbind(-2))
        u, v = action.clamp(-1.0, 1.0).unbind(-1)
        position = state.position + config.max_step * torch.stack([a * u + b * v, c * u + d * v], -1)
        reward = -(position - state.goal).square().sum(-1).sqrt()
        goal, time = state.goal, state.time + 1
        if config.num_reaches > 1:
            again = ((time % config.reach == 0) & (time < config.horizon))[..., None]
            position = torch.where(again, 0.0, position)
            goal = torch.where(again, self._draw_goals(time.shape, generator), goal)
        state = State(position, goal, time)
        return StepResult(state, self._observe(state), reward, torch.zeros_like(time, dtype=torch.bool))

    def references(self) -> dict[str, Reference]:
        return {"random": Reference(self.random_actions), **make_references(self.config)}

    def render(self, task: Task, episode: State, earlier: Sequence[State] = (), size: int = 480) -> np.ndarray:
        return draw(task, episode, earlier, size, self.config)
