"""One step of a rollout: what lanes carry on, also where their episode has ended."""

import torch
import trials
from torch import Generator

from metarl.learning.stepping import Lanes, play_step, taken


def test_lanes_whose_episode_ended_earn_nothing_and_have_taken_nothing():
    env, generator = trials.board(), Generator().manual_seed(0)
    task = env.sample_tasks(2, generator)
    lanes = Lanes.start(env, *env.reset(task, 3, generator))
    assert lanes.inputs(lanes.alive).mask.eq(1).all() and lanes.prev_reward.eq(0).all()
    up = torch.ones(2, 3, dtype=torch.int64)
    for _ in range(6):
        before = lanes
        action, result, lanes, memory = play_step(
            env.step, lambda *x: (up, "kept"), task, before, before.alive, "", generator
        )
        assert torch.equal(lanes.prev_reward, torch.where(before.alive, result.reward, 0.0))
        assert torch.equal(lanes.prev_action, torch.where(before.alive, action, 0))
        assert torch.equal(lanes.alive, before.alive & ~result.terminated) and memory == "kept"
    assert taken(torch.ones(2, 1, 4), torch.tensor([[True], [False]])).sum() == 4
