"""Dark key-to-door: what pays when, what is seen, and which pairs are held out."""

from __future__ import annotations

import torch
from torch import Generator

import envs
from envs.key_to_door import State, Task

RIGHT, DOWN, STAY = 2, 3, 0


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def play(env, task, actions):
    """Rewards and what was found after each action, in one lane from the start."""
    state, _ = env.reset(task, 1, generator())
    seen = []
    for action in actions:
        result = env.step(task, state, torch.tensor([[action]]), generator())
        state = result.state
        assert not result.terminated.any()
        seen.append((result.reward.item(), state.found.item()))
    return seen


def test_the_key_pays_once_and_then_the_door_once():
    env = envs.make("key-to-door", size=3, start=(0, 0), held_out_every=0)
    task = env.task_from_dicts([{"key": [0, 2], "door": [0, 1]}])
    walk = [RIGHT, RIGHT, RIGHT, 4, 4, RIGHT]  # past the door, to the key, into the wall, back over the door twice
    assert play(env, task, walk) == [(0, 0), (1, 1), (0, 1), (1, 2), (0, 2), (0, 2)]


def test_a_key_on_its_door_takes_two_steps():
    env = envs.make("key-to-door", size=3, start=(0, 0), held_out_every=0)
    task = env.task_from_dicts([{"key": [1, 0], "door": [1, 0]}])
    assert play(env, task, [DOWN, STAY, STAY]) == [(1, 1), (1, 2), (0, 2)]


def test_progress_is_seen_only_where_it_is_to_be():
    task = Task(torch.tensor([[4, 5]]), torch.tensor([[0, 0]]))
    for preset, wanted in (("laskin2022", [0.0, 0.25]), ("see-progress", [0.0, 0.25, 1.0, 0.0])):
        env = envs.make("key-to-door", preset)
        state, obs = env.reset(task, 1, generator())
        assert obs[0, 0].tolist() == [0.0] * len(wanted)
        assert env.step(task, state, torch.tensor([[RIGHT]]), generator()).obs[0, 0].tolist() == wanted


def test_splits_share_out_all_pairs():
    env = envs.make("key-to-door")
    splits = [set(numbers.tolist()) for numbers in env.pairs.values()]
    assert [len(split) for split in splits] == [5249, 656, 656]
    assert set.union(*splits) == set(range(9**4)) and sum(map(len, splits)) == 9**4
    task = env.sample_tasks(656, generator(), "test")
    rows = torch.cat([task.key, task.door], 1)
    assert len(rows.unique(dim=0)) == 656, "each held-out pair once"


def test_states_to_ask_about_are_spread_over_all():
    env = envs.make("key-to-door", "see-progress")
    state, obs = env.any_states(env.sample_tasks(2, generator()), 3000, generator())
    assert (
        isinstance(state, State) and len(torch.stack([state.cell, state.found], -1).flatten(0, 1).unique(dim=0)) == 243
    )
    assert obs[..., 2].mean().item() > 0.6 and obs[..., 3].mean().item() < 0.4
