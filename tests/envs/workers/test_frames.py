"""Pictures replay an episode in an environment of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from walkers import Walk
from walks import walk

import envs
from envs import InputError
from envs.workers.frames import fitted


def played(env, steps=4, seed=0):
    """A task and the states of an episode."""
    generator = envs.task_generator(seed, "train")
    task = env.sample_tasks(1, generator)
    state, _ = env.reset(task, 1, generator)
    states = [state]
    for _ in range(steps):
        state = env.step(task, state, torch.ones(1, 1, dtype=torch.int64), generator).state
        states.append(state)
    return task[0], type(state).stack([s[0, 0] for s in states])


def test_a_picture_is_that_of_the_step():
    env = walk()
    (task, one), (_, two) = played(env), played(env, seed=1)
    shown = [env.render(task, states[: t + 1], size=40)[20, 20, 0] for t in range(5) for states in (one, two)]
    assert shown == [0, 0, 10, 10, 20, 20, 30, 30, 40, 40]
    assert len(env.frames.replays) == 2, "which go on from picture to picture"
    assert env.render(task, one[:2], size=40)[20, 20, 0] == 10, "and start over for an earlier one"


def test_an_environment_without_pictures_shows_its_numbers():
    env = walk(type("Blind", (Walk,), {"metadata": {}}))
    task, states = played(env)
    assert env.render(task, states, [states], size=60).shape == (60, 60, 3)


def test_what_goes_wrong_in_drawing_is_told(sentence):
    def render(self):
        raise ImportError("pygame is not installed")

    env = walk(type("Undrawn", (Walk,), {"render": render}))
    with pytest.raises(InputError) as error:
        env.render(*played(env))
    assert "pygame is not installed" in sentence(error)


def test_pictures_are_fitted_into_a_square():
    image = fitted(np.zeros((10, 20, 3), np.uint8), 40)
    assert image.shape == (40, 40, 3)
    assert (image[:10] == 255).all() and (image[10:30] == 0).all()
