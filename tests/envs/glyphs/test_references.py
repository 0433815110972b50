"""Reference policies of glyphs."""

from __future__ import annotations

import torch
from glyph_plays import generator, glyphs

from envs.core import Transition
from metarl.evaluation.curve import play_references


def scores(env, num_tasks: int = 100) -> dict[str, dict[str, float]]:
    played = play_references(env, env.sample_tasks(num_tasks, generator(), "test"), 1, generator(1), num_episodes=2)
    return {
        policy: {name: float(x.mean()) for name, x in of.scores.items()} | {"return": float(of.rewards.sum(2).mean())}
        for policy, of in played.items()
    }


def test_the_oracle_is_right_and_chance_is_chance():
    found = scores(glyphs(5, 3))
    assert found["oracle"]["return"] == 15 and found["oracle"]["instance 1"] == 1
    assert abs(found["random"]["instance 2"] - 0.2) < 0.06  # 1,000 answers, a deviation of 0.013


def test_the_nearest_neighbour_is_well_above_chance_at_the_second_instance():
    found = scores(glyphs(5, 10))["nearest neighbour"]
    assert found["instance 1"] < found["instance 2"] < found["instance 5"] < found["instance 10"]
    assert found["instance 2"] > 0.3 and found["instance 10"] > 0.7


def test_instances_without_jitter_or_faces_are_recognized_at_once():
    env = glyphs(4, 3, max_rotation=0.0, max_shift=0.0, max_zoom=0.0)
    env.image = env.image[:, :1]
    task = env.sample_tasks(50, generator())
    found = play_references(env, task, 1, generator(1))["nearest neighbour"].scores
    assert found["instance 2"].mean() > 0.9 and found["instance 3"].mean() > 0.9


def test_in_the_active_form_it_asks_for_what_looks_new():
    """Without jitter and in one face, an instance looks as the one before: only the first of a letter is new."""
    env = glyphs(4, 3, active=True, max_rotation=0.0, max_shift=0.0, max_zoom=0.0)
    env.image = env.image[:, :1]
    task = env.sample_tasks(50, generator())
    found = play_references(env, task, 1, generator(1))["nearest neighbour"].scores
    assert found["asked 1"].mean() > 0.9 and found["asked 2"].mean() < 0.1 and found["instance 3"].mean() > 0.9
    assert scores(glyphs(4, 5, active=True))["nearest neighbour"]["return"] > 0


def test_it_knows_only_what_it_asked_for():
    env = glyphs(4, 3, active=True)
    reference, task = env.references()["nearest neighbour"], env.sample_tasks(5, generator())
    state, _ = env.reset(task, 2, generator(1))
    seen = reference.start(task, 2, generator())
    assert (reference.act(task, state, seen, generator()) == 4).all()
    for action, known in ((0, 0), (4, 1)):
        actions = torch.full((5, 2), action)
        result = env.step(task, state, actions, generator())
        seen = reference.observe(task, seen, Transition(state, actions, result.reward, result.state, result.terminated))
        state = result.state
        assert ((seen.label >= 0).sum(-1) == known).all()
