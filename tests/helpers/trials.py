"""Small trials with a policy that has a memory: environments, networks far from their first values, and acting."""

from __future__ import annotations

import torch
from torch import Generator

import envs
from metarl.algorithms.base import Setup
from metarl.algorithms.recurrent_ppo import RecurrentPPOConfig
from metarl.learning.rollout import rollout
from metarl.policies.recurrent import Outputs

EPISODES = 3


def board(horizon=6):
    """2 x 2 cells whose episodes end on the goal."""
    return envs.make(
        "gridworld", "varibad", width=2, height=2, min_goal_distance=1, terminate_at_goal=True, horizon=horizon
    )


def plane():
    """Continuous actions, and episodes that end near the goal."""
    return envs.make("point", "finn2017", horizon=6, goal_tolerance=0.3)


def arms(num_arms=3, pulls=70):
    return envs.make("bernoulli-bandit", "k5-n10", num_arms=num_arms, horizon=pulls)


def make(env, config, num_episodes=EPISODES, seed=0, noise=0.2):
    """A network whose outputs vary: fresh ones are almost 0. Its normalizer has seen some numbers, too."""
    generator = Generator().manual_seed(seed)
    network = config.make(env, num_episodes, generator)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            scale = 2 * noise if "out." in name else noise
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    size = network.obs_size
    obs, reward = torch.randn(50, size, generator=generator), torch.randn(50, generator=generator)
    network.normalizer.update(obs, reward, torch.ones(50))
    return network


def play(env, network, num_episodes=EPISODES, tasks=3, lanes=2, seed=1, actor=None):
    """A trial that the network acts: rows [B, T], and the outputs that it acted by, [B, T, ...]."""
    generator, outputs = Generator().manual_seed(seed), []

    def act(inputs, state, memory):
        found, memory = network.step(inputs.map(lambda x: x.flatten(0, 1)), memory)
        outputs.append(found)
        return network.distribution(found).sample(generator).unflatten(0, inputs.obs.shape[:2]), memory

    task = env.sample_tasks(tasks, generator)
    trial = rollout(env, actor or act, task, lanes, generator, num_episodes)
    rows = trial.map(lambda x: x.transpose(1, 2).flatten(0, 1))
    return rows, Outputs.stack(outputs, 1) if outputs else None


@torch.no_grad()
def outputs(network, inputs):
    """All outputs for whole trials in one tensor [B, T, A + 1]."""
    found = network(inputs)
    return torch.cat([found.action, found.value.unsqueeze(-1)], -1)


def difference(network, a, b):
    """Largest difference of the outputs at each step of each lane, [B, T]."""
    return (outputs(network, a) - outputs(network, b)).abs().amax(-1)


def same_outputs(network, rows, acted):
    """Largest difference between what acting and training compute."""
    joined = torch.cat([acted.action, acted.value.unsqueeze(-1)], -1)
    return float((outputs(network, rows.inputs) - joined).abs().max())


def algorithm(env, policy, num_iterations=10, seed=0, num_shards=1, **fields):
    config = RecurrentPPOConfig(**fields)
    generator = Generator().manual_seed(seed)
    return config.make(Setup(env, policy, generator, num_iterations, num_shards))
