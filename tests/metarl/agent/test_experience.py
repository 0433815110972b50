"""Which episodes a gradient step learns from."""

from __future__ import annotations

import torch

from metarl.agent.experience import Experience


def step(experience, t, first):
    experience.begin(torch.tensor(first))
    experience.add(*(torch.full((len(first), *shape), float(t)) for shape in ((2,), (1,), ())))


def test_each_lane_gives_its_first_episodes_however_short_those_of_others_are():
    e = Experience(2, quota=1)
    for t in range(4):  # episodes of lane 0 take one step, that of lane 1 four
        step(e, t, [True, t == 0])
        e.end(0, True, None)
        assert e.complete == (t == 4)
    e.end(1, False, torch.ones(2))
    assert e.complete
    assert [episode.reward.tolist() for episode in e.episodes] == [[0], [0, 1, 2, 3]]
    assert [episode.terminated for episode in e.episodes] == [True, False]


def test_an_episode_that_began_before_a_gradient_step_does_not_count():
    e = Experience(1, quota=1)
    step(e, 0, [True])
    e.clear()
    step(e, 1, [False])
    e.end(0, True, None)
    assert not e.episodes
    step(e, 2, [True])
    e.end(0, True, None)
    assert e.complete


def test_its_state_is_plain_and_goes_on():
    e, again = Experience(2, quota=2), Experience(2, quota=2)
    step(e, 0, [True, True])
    e.end(0, True, None)
    step(e, 1, [True, False])
    again.load_state_dict(e.state_dict())
    for x in (e, again):
        x.end(1, False, None)
    assert [len(x.reward) for x in again.episodes] == [len(x.reward) for x in e.episodes] == [1, 2]
