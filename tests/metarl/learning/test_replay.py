"""What the replay of tasks returns are steps that were played, each as often as any other."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from metarl.learning.replay import Replay
from metarl.learning.rollout import Ends, Trajectory

HORIZON = 4


def trial(tasks, episodes=2, lanes=2, shift=0.0, lengths=None):
    """Steps that say where they are from: obs and reward are the number of the step among all of these tasks."""
    steps = episodes * HORIZON
    number = torch.arange(len(tasks) * steps * lanes, dtype=torch.float32).view(len(tasks), steps, lanes) + shift
    mask = torch.ones_like(number).unflatten(1, (episodes, HORIZON))
    terminated = torch.zeros(len(tasks), episodes, lanes, dtype=torch.bool)
    for place, length in (lengths or {}).items():
        n, k, e = place
        mask[n, k, length:, e], terminated[place] = 0, True
    obs = number.unsqueeze(-1)
    last = obs.unflatten(1, (episodes, HORIZON))[:, :, -1] + 1000
    return Trajectory(obs, obs, number, mask.flatten(1, 2), mask.flatten(1, 2) > 0, None, Ends(last, terminated))


def filled(*trials, capacity=4, context=1):
    replay = Replay(3, capacity, HORIZON, 1, 1, torch.device("cpu"))
    for tasks, t in trials:
        replay.add(torch.tensor(tasks), t, t.action, context)
    return replay


def drawn(replay, tasks, count=4000, **options):
    return replay.sample(torch.tensor(tasks), count, Generator().manual_seed(0), **options)


def test_steps_of_ended_episodes_are_drawn_equally_often_and_padding_never():
    t = trial([2, 0], lengths={(1, 0, 1): 1, (1, 1, 0): 3})
    batch = drawn(filled(([2, 0], t)), [0])
    values, counts = batch.reward[0].unique(return_counts=True)
    assert sorted(values.tolist()) == sorted(t.reward[1][t.mask[1] > 0].tolist()) and len(values) == 12
    assert counts.float().div(4000).sub(1 / 12).abs().max() < 0.015
    ends = batch.terminated[0] > 0
    assert set(batch.reward[0][ends].tolist()) == {float(t.reward[1, 0, 1]), float(t.reward[1, 6, 0])}


def test_next_observations_are_those_after_the_step():
    t = trial([0])
    batch = drawn(filled(([0], t)), [0])
    last = {float(t.reward[0, k, e]) for k in (3, 7) for e in (0, 1)}
    for obs, after in zip(batch.obs.flatten().tolist(), batch.next_obs.flatten().tolist(), strict=True):
        assert after == (obs + 1000 if obs in last else obs + 2)  # of the same lane
    assert torch.equal(batch.obs, batch.action) and torch.equal(batch.obs[..., 0], batch.reward)


def test_the_context_is_the_first_episodes_of_the_latest_trials():
    new = trial([1], shift=100)
    replay = filled(([0, 1, 2], trial([0, 1, 2])), ([1], new), capacity=8)
    found = drawn(replay, [1, 2], context=True)
    assert set(found.reward[0].tolist()) == set(new.reward[0, :HORIZON].flatten().tolist())
    assert set(found.reward[1].tolist()) == set(trial([0, 1, 2]).reward[2, :HORIZON].flatten().tolist())
    assert len(drawn(replay, [1]).reward.unique()) == 32, "old and new ones"


def test_old_episodes_make_room():
    trials = [trial([1], 1, shift=s) for s in (0, 100, 200)]
    found = drawn(filled(*(([1], t) for t in trials)), [1]).reward
    assert set(found[0].tolist()) == {x for t in trials[1:] for x in t.reward.flatten().tolist()}


def test_episodes_of_another_length_are_taken_over_and_those_of_other_tasks_refused():
    state, t = filled(([0], trial([0]))).state_dict(), trial([0])
    longer = Replay(3, 4, HORIZON + 2, 1, 1, torch.device("cpu"))
    longer.load_state_dict(state)
    assert set(drawn(longer, [0]).reward[0].tolist()) == set(t.reward.flatten().tolist())
    with pytest.raises(ValueError, match="shape"):
        Replay(2, 4, HORIZON, 1, 1, torch.device("cpu")).load_state_dict(state)
