"""Small runs of every method, and learners that step a batched environment as a rollout does."""

from __future__ import annotations

import torch
from torch import Generator

import envs
from metarl.learning.rollout import Trajectory
from metarl.training.config import from_dict
from metarl.training.presets import preset
from metarl.training.run import Run

FAMILIES = {
    "point": envs.make_config("point", horizon=6),
    "gridworld": envs.make_config("gridworld", "varibad", width=3, height=3, min_goal_distance=1, horizon=6),
}
EPISODES = 3


def saved_run(path, method, family="gridworld", **fields):
    """A run whose policy acts differently in different states, without any training, in its folder."""
    config = preset(f"{method}-{family}")
    trial = {"algorithm": {"num_episodes": EPISODES}} if hasattr(config.algorithm, "num_episodes") else {}
    config = from_dict(config, {"num_envs": 4, "num_iterations": 1, **trial, **fields})
    run = Run(path, f"{method}-{family}", config, FAMILIES[family])
    acting = run.algorithm.network or getattr(run.algorithm, "actor", None)
    if acting is not None:
        generator = Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in acting.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    run.create()
    run.save()
    return run


def stepped(learner, env, task, num_episodes):
    """The trajectory of a learner on one task, with the random numbers that `rollout` draws."""
    rows, lanes, generator = [], learner.num_envs, learner.generator
    for _ in range(num_episodes):
        state, obs = env.reset(task, lanes, generator)
        for t in range(env.horizon):
            action = learner.act(obs[0].numpy())
            drawn = learner.now[1].unsqueeze(0)
            result = env.step(task, state, torch.as_tensor(action).unsqueeze(0), generator)
            truncated = torch.full((lanes,), t == env.horizon - 1)
            learner.observe(result.obs[0].numpy(), result.reward[0].numpy(), result.terminated[0].numpy(), truncated)
            rows.append((obs, drawn, result.reward, torch.ones(1, lanes), torch.full((1, lanes), t == 0)))
            state, obs = result.state, result.obs
    return Trajectory(*(torch.stack(column, 1) for column in zip(*rows, strict=True)))
