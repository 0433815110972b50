"""References of dark key-to-door against distances by hand."""

from __future__ import annotations

import torch
from torch import Generator

import envs
from metarl.learning.rollout import reference_rollout


def test_the_shortest_path_is_as_long_as_the_distances():
    env = envs.make("key-to-door")
    task = env.sample_tasks(200, Generator().manual_seed(0), "test")
    rewards = reference_rollout(env, env.references()["shortest path"], task, 1, Generator().manual_seed(1)).reward
    for n, (key, door) in enumerate(zip(task.key.tolist(), task.door.tolist(), strict=True)):
        there = max(1, abs(key[0] - 4) + abs(key[1] - 4))
        paid = [there - 1, there - 1 + max(1, abs(key[0] - door[0]) + abs(key[1] - door[1]))]
        assert rewards[n, :, 0].nonzero().flatten().tolist() == paid


def test_the_search_remembers_key_and_door_through_the_trial():
    env = envs.make("key-to-door")
    task = env.sample_tasks(50, Generator().manual_seed(2), "test")
    search, best = env.references()["systematic search"], env.references()["shortest path"]
    trial = reference_rollout(env, search, task, 1, Generator().manual_seed(3), 6)
    last = trial.episodes(env.horizon)[-1].reward
    assert torch.equal(last, reference_rollout(env, best, task, 1, Generator().manual_seed(4)).reward)
    assert (trial.episodes(env.horizon)[0].returns < 2).any(), "which it did not know before"


def test_the_search_does_not_look_at_the_task():
    env = envs.make("key-to-door")
    task = env.sample_tasks(20, Generator().manual_seed(5))
    state, _ = env.reset(task, 1, Generator())
    search = env.references()["systematic search"]
    action = search.act(task, state, search.start(task, 1, Generator()), Generator())
    assert (action == action[0]).all()
