"""Pictures of glyphs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from glyph_plays import glyphs, play


def episode(answers: list[int], **fields):
    env = glyphs(3, 4, **fields)
    task = env.task_from_dicts([{"letter": [65, 66, 67]}])
    states, _, _ = play(env, task, torch.tensor(answers).view(1, -1, 1))
    return env, task[0], states[0, :, 0]


def image(answers: list[int], **fields) -> np.ndarray:
    env, task, states = episode(answers, **fields)
    return env.render(task, states)


def green(picture: np.ndarray) -> int:
    return int((picture == (47, 158, 95)).all(-1).sum())


def test_a_right_answer_is_green_and_the_picture_is_the_same_each_time():
    right = int(episode([0])[2].label[0, 0])
    assert green(image([right])) > 300 > green(image([(right + 1) % 3]))
    assert np.array_equal(image([right]), image([right]))


def test_every_answer_shows():
    pictures = [image([0] * n) for n in range(1, 13)]
    assert all((a != b).any() for a, b in itertools.pairwise(pictures))


@pytest.mark.parametrize("size", [96, 320])
def test_a_question_and_another_size(size):
    env, task, states = episode([3, 1, 3], active=True)
    picture = env.render(task, states, [states], size)
    assert picture.shape == (size, size, 3) and picture.dtype == np.uint8
    assert (picture != glyphs(3, 4).render(task, states, [], size)).any()
