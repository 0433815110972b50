"""A family without fault, and ways to break the contract of Env, each with the words that name it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces

import envs


@dataclass(frozen=True)
class LineConfig:
    horizon: int = 5


@dataclass(frozen=True, eq=False)
class Task(envs.Struct):
    place: torch.Tensor  # [N]


@dataclass(frozen=True, eq=False)
class State(envs.Struct):
    x: torch.Tensor  # [N, E]


class Line(envs.Env):
    """Walk to a place on a line. Nothing is wrong with it."""

    task_type = Task

    def __init__(self, config, device):
        self.config, self.device, self.horizon = config, device, config.horizon
        self.observation_space = self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.task_space = spaces.Dict(place=spaces.Box(-1, 1, (), np.float32))
        self.splits = envs.fresh_splits("anywhere")

    def sample_tasks(self, n, generator, split="train"):
        self.check_split(split)
        return Task(2 * torch.rand(n, generator=generator, device=self.device) - 1)

    def reset(self, task, num_envs, generator):
        x = torch.zeros(len(task), num_envs, device=self.device)
        return State(x), x.unsqueeze(-1)

    def step(self, task, state, action, generator):
        x = (state.x + 0.2 * action[..., 0].clamp(-1, 1)).clamp(-1, 1)
        reward = -(x - task.place[:, None]).abs()
        return envs.StepResult(State(x), x.unsqueeze(-1), reward, torch.zeros_like(x, dtype=torch.bool))

    def references(self):
        return {"random": envs.Reference(self.random_actions)}

    def render(self, task, episode, earlier=(), size=480):
        return np.zeros((size, size, 3), np.uint8)


def changed(method, change):
    """A Line whose method returns `change` of what it should."""
    return type(
        "Broken", (Line,), {method: lambda self, *args, **named: change(getattr(Line, method)(self, *args, **named))}
    )


def steps(**changes):
    """A Line whose steps return something else in some fields."""
    return changed("step", lambda r: dataclasses.replace(r, **{k: f(getattr(r, k)) for k, f in changes.items()}))


def has(**attributes):
    """A Line with other attributes."""

    def init(self, config, device):
        Line.__init__(self, config, device)
        vars(self).update(attributes)

    return type("Broken", (Line,), {"__init__": init})


def acts(action):
    """A Line with a reference that takes other actions."""
    return changed("references", lambda r: {**r, "odd": envs.Reference(lambda task, state, m, g: action(state.x))})


REWARD, DONE = "step() must return reward as a tensor float32 [N, E]", "step() must return terminated as a tensor bool"
OBS, FIRST = "step() must return obs as a tensor float32 [N, E, O]", "reset() must return obs as a tensor float32"
FIELD = "must return the task field 'place' as a tensor float32 [N] = "
IN_ROLLOUTS = {
    "a reward for a task": (steps(reward=lambda r: r[:, 0]), REWARD),
    "a reward for a task, with an axis": (steps(reward=lambda r: r[:, :1]), REWARD),
    "one reward for all": (steps(reward=lambda r: r.mean()), REWARD),
    "a number as reward": (steps(reward=lambda r: 1.0), REWARD),
    "rewards in float64": (steps(reward=lambda r: r.double()), REWARD),
    "whole rewards": (steps(reward=lambda r: r.long()), REWARD),
    "rewards on another device": (steps(reward=lambda r: r.to("meta")), REWARD),
    "terminated of a task": (steps(terminated=lambda r: r[:, 0]), DONE),
    "terminated of all": (steps(terminated=lambda r: r.any()), DONE),
    "terminated as numbers": (steps(terminated=lambda r: r.float()), DONE),
    "no terminated": (steps(terminated=lambda r: None), DONE),
    "obs without its axis": (steps(obs=lambda r: r[..., 0]), OBS),
    "obs of more numbers": (steps(obs=lambda r: r.expand(-1, -1, 2)), OBS),
    "obs of one lane": (steps(obs=lambda r: r[:, :1]), OBS),
    "obs in float64": (steps(obs=lambda r: r.double()), OBS),
    "a tensor as state": (steps(state=lambda r: r.x), "step() must return a state of class State"),
    "a state of tasks": (steps(state=lambda r: r[:, 0]), "and its field 'x' is float32 [4] on cpu"),
    "a gym tuple": (
        changed("step", lambda r: (r.obs, r.reward, r.terminated, r.terminated, {})),
        "step() must return an envs.StepResult, not a tuple of 5",
    ),
    "reset without a state": (
        changed("reset", lambda r: r[1]),
        "reset() must return (state, obs), not float32 [4, 2, 1]",
    ),
    "a gym reset": (changed("reset", lambda r: (r[1], {})), "reset() must return as state an envs.Struct"),
    "first obs in float64": (changed("reset", lambda r: (r[0], r[1].double())), FIRST),
    "first obs transposed": (changed("reset", lambda r: (r[0], r[1].mT)), FIRST),
    "too few tasks": (changed("sample_tasks", lambda r: r[:-1]), FIELD + "[4] on cpu, not float32 [3] on cpu"),
    "too many tasks": (changed("sample_tasks", lambda r: Task.cat([r, r])), FIELD),
    "tasks without an axis": (changed("sample_tasks", lambda r: r[0]), FIELD),
    "tasks in float64": (changed("sample_tasks", lambda r: r.map(torch.Tensor.double)), FIELD),
    "tasks as a dict": (
        changed("sample_tasks", vars),
        "must return an object of class Task, not an object of class dict",
    ),
    "metrics as tensors": (
        changed("metrics", lambda r: {"lost": torch.zeros(2)}),
        "a plain number as 'lost', not float32",
    ),
}
IN_DESCRIPTION = {
    "no horizon": (has(horizon=0), "horizon must be at least 1 step, not 0"),
    "half a step": (has(horizon=5.0), "horizon must be a whole number of steps, not 5.0"),
    "a Dict observed": (
        has(observation_space=spaces.Dict()),
        "observation_space must be a Box or a MultiDiscrete, not Dict",
    ),
    "a matrix observed": (has(observation_space=spaces.Box(-1, 1, (1, 1))), "must be a one-dimensional Box of float32"),
    "several choices": (
        has(action_space=spaces.MultiBinary(2)),
        "action_space must be a Box, a Discrete or a MultiDiscrete, not MultiBinary",
    ),
    "choices from 1 on": (has(action_space=spaces.Discrete(3, start=1)), "action_space must count from 0"),
    "another task space": (
        has(task_space=spaces.Dict(goal=spaces.Discrete(2))),
        "each field of Task, place, and it holds goal",
    ),
    "no validation split": (
        has(splits={"train": "all", "test": "all"}),
        "splits must describe train, validation and test, not train, test",
    ),
    "a task class that is none": (type("Broken", (Line,), {"task_type": dict}), "task_type must be an envs.Struct"),
    "no attributes": (
        type("Broken", (Line,), {"__init__": lambda self, *args: None}),
        "task_space must be a gymnasium.spaces.Dict",
    ),
    "no methods": (type("Broken", (envs.Env,), {}), "lacks methods that an envs.Env must have: reset, step"),
    "no Env": (type("Broken", (), {"__init__": Line.__init__}), "must make an envs.Env, not an object of class Broken"),
}
ELSEWHERE = {
    "no references": (changed("references", lambda r: None), "must return a dict that holds the reference 'random'"),
    "functions as references": (
        changed("references", lambda r: {"random": print}),
        "must return an envs.Reference as 'random'",
    ),
    "no action": (acts(lambda x: None), "must return actions as a tensor float32 [N, E, A] = "),
    "actions without an axis": (acts(lambda x: x), "must return actions as a tensor float32 [N, E, A] = "),
    "an image of floats": (
        changed("render", lambda r: r / 255),
        "must return a numpy array uint8 [480, 480, 3], not a numpy",
    ),
    "half an image": (
        changed("render", lambda r: r[::2]),
        "must return a numpy array uint8 [480, 480, 3], not a numpy",
    ),
    "fewer dicts": (
        changed("task_to_dicts", lambda r: r[1:]),
        "task_to_dicts() must return a list with a dict for each of 3",
    ),
    "dicts of other fields": (
        changed("task_to_dicts", lambda r: [{"goal": 0.0}] * 3),
        "dicts with the fields place, not goal",
    ),
    "dicts of tensors": (
        changed("task_to_dicts", lambda r: [{"place": torch.zeros(1)}] * 3),
        "must return what JSON can hold",
    ),
    "a reward that is not finite": (steps(reward=lambda r: r / 0), "must return finite numbers as reward"),
    "tasks of chance": (
        changed("sample_tasks", lambda r: Task(torch.rand(len(r)))),
        "the same tasks from the same generator",
    ),
    "tasks out of their space": (
        changed("sample_tasks", lambda r: Task(r.place + 5)),
        "'place' must lie in Box(-1.0, 1.0",
    ),
}
