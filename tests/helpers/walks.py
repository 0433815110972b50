"""`walkers` as families."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces
from walkers import Dies, Exits, Faulty, Grows, Walk, apply, returns

import envs
from envs.workers.family import GymnasiumConfig, GymnasiumEnv

TASKS = {"speed": spaces.Box(0.5, 1.5)}


def walk(make=Walk, workers=1, horizon=6, **options) -> GymnasiumEnv:
    """The family of `make`, built."""
    family = envs.from_gymnasium(make, **{"tasks": TASKS, "apply": apply, "horizon": horizon, **options})
    return family(GymnasiumConfig(horizon, workers), torch.device("cpu"))


def episodes(env, num_tasks=3, num_envs=2, seed=0, steps=None, split="train"):
    """What a few steps of random actions give: obs, reward and terminated of each."""
    generator = envs.task_generator(seed, "train")
    task = env.sample_tasks(num_tasks, generator, split)
    state, obs = env.reset(task, num_envs, generator)
    seen = [(obs, torch.zeros(obs.shape[:2]), torch.zeros(obs.shape[:2], dtype=torch.bool))]
    for _ in range(steps or env.horizon):
        result = env.step(task, state, env.random_actions(task, state, None, generator), generator)
        state = result.state
        seen.append((result.obs, result.reward, result.terminated))
    return [torch.stack(column) for column in zip(*seen, strict=True)]


FAULTS = {
    "raises": (Faulty, "step() raised RuntimeError: the motor"),
    "NaN in obs": (returns(lambda x: x * np.nan), "step() returned nan as obs after 2 steps"),
    "NaN as reward": (returns(reward=float("nan")), "step() returned nan as reward"),
    "no reward": (returns(reward=None), "step() returned None as reward"),
    "another shape": (returns(lambda x: x[:1]), "step() returned an array float32 [1] as obs"),
    "another dtype": (returns(lambda x: x.astype(np.float64)), "step() returned an array float64 [2] as obs"),
    "a list": (returns(lambda x: x.tolist()), "step() returned a list as obs"),
    "out of its space": (returns(lambda x: x + 50), "which lies in [-20, 20] by its observation_space"),
    "truncates early": (returns(truncated=True), "truncated an episode after 2 steps, before the horizon of 6"),
    "killed": (Dies, "step() ended its worker process (SIGKILL)"),
    "exits": (Exits, "step() ended its worker process (exit status 3)"),
    "spaces by task": (Grows, "spaces cannot differ by task"),
}
