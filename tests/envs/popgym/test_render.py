"""Pictures of the card games."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from cards import CELLS, generator, make

from envs.popgym.render import right, wrong


def episode(env, task, steps: int, good: bool = True):
    """The states of one lane that answers right, or wrong."""
    state, _ = env.reset(task, 1, generator())
    seen = [state]
    for _ in range(steps):
        answer = env.remember(task, state, None, generator())
        action = answer if good else (answer + 1) % env.action_space.n
        seen.append(env.step(task, state, action, generator()).state)
        state = seen[-1]
    return type(state).stack(seen)[:, 0, 0]


@pytest.mark.parametrize(("game", "preset"), [cell for cell in CELLS if cell[1] != "medium"])
def test_it_shows_time_answers_and_earlier_episodes(game, preset):
    env = make(game, preset)
    task = env.sample_tasks(1, generator(1))
    whole, bad = episode(env, task, env.horizon), episode(env, task, env.horizon, good=False)
    images = [env.render(task[0], whole[: t + 1], size=240) for t in (0, 3, env.horizon)]
    images += [env.render(task[0], bad, size=240), env.render(task[0], whole, [bad], size=240)]
    for a, b in itertools.combinations(images, 2):
        assert (a != b).any()
    assert np.array_equal(env.render(task[0], whole, [bad], size=240), images[-1])


def test_each_suit_and_each_kind_of_card_looks_its_own_way():
    for game, preset in (("repeat-previous", "easy"), ("count-recall", "easy"), ("count-recall", "hard")):
        env = make(game, preset)
        task = env.sample_tasks(1, generator(2))
        start = episode(env, task, 0)
        images = []
        for kind in range(env.num_kinds):
            cards = task.cards[0].clone()
            cards[-1] = kind  # the first that is dealt
            images.append(env.render(type(task)(cards, *list(vars(task[0]).values())[1:]), start))
        for a, b in itertools.combinations(images, 2):
            assert (a[60:240] != b[60:240]).any() and np.array_equal(a[250:], b[250:])


def test_the_last_card_is_face_down_once_answers_go_on():
    env = make("autoencode")
    task = env.sample_tasks(1, generator(1))
    whole = episode(env, task, 60)
    pictures = [env.render(task[0], whole[: t + 1])[80:240, 180:300] for t in (51, 52, 53)]
    assert (pictures[0] != pictures[1]).any() and np.array_equal(pictures[1], pictures[2])


def test_answers_that_do_not_count_are_neither_right_nor_wrong():
    outcomes = [(0, -1), (1, 1), (2, 1), (0, 0)]
    assert (right(outcomes), wrong(outcomes)) == (2, 1)
