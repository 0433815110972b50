"""Machines without a display, and without OpenGL."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from envs import InputError
from envs.locomotion import headless

ROOT = Path(__file__).parents[3]


def draw_alone(**variables: str | None) -> subprocess.CompletedProcess:
    """Draw in a process of its own, with these environment variables."""
    code = """
import os, torch, envs
env = envs.make("half-cheetah-vel")
task, generator = env.task_from_dicts([{"goal_velocity": 1}]), torch.Generator()
state, _ = env.reset(task, 1, generator)
try:
    image = env.render(task[0], state[0], size=96)
except envs.InputError as error:
    print(error)
else:
    print(os.environ["MUJOCO_GL"], image.shape, image.std() > 10)
"""
    wanted = {"MUJOCO_GL": None, "PYOPENGL_PLATFORM": None, **variables}
    environment = {**os.environ, **{key: value for key, value in wanted.items() if value is not None}}
    for key in [key for key, value in wanted.items() if value is None]:
        environment.pop(key, None)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)


@pytest.fixture(scope="module", autouse=True)
def opengl():
    try:
        headless.make_current()
    except InputError as error:
        pytest.skip(str(error))


def test_alone_it_draws_and_leaves_without_a_word():
    result = draw_alone(DISPLAY=None)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split()[0] in ("egl", "osmesa") and "(96, 96, 3) True" in result.stdout


def test_without_egl_osmesa_is_tried():
    result = draw_alone(DISPLAY=None, MUJOCO_EGL_DEVICE_ID="77")  # which no machine has
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(("osmesa (96, 96, 3) True", "Images of locomotion need OpenGL, and neither"))


def test_without_either_one_sentence_names_what_to_install(sentence):
    result = draw_alone(DISPLAY=None, PYOPENGL_PLATFORM="glx")  # which both refuse
    assert (result.returncode, result.stderr) == (0, "")
    text = sentence(result.stdout)
    assert "neither EGL nor OSMesa works" in text and "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri" in text


@pytest.mark.parametrize(("choice", "tried"), [("", ["egl", "osmesa"]), ("egl", ["egl"]), (" OSMesa", ["osmesa"])])
def test_the_users_choice_is_kept(monkeypatch, sentence, choice, tried):
    seen = []
    monkeypatch.setenv("MUJOCO_GL", choice)
    monkeypatch.setattr(headless, "_attempt", lambda module: seen.append((module, os.environ["MUJOCO_GL"])))
    monkeypatch.setattr(headless, "_forget", lambda environment: None)
    text = sentence(headless.open_context.__wrapped__())
    assert seen == [(f"mujoco.{name}", name) for name in tried]
    assert (f"MUJOCO_GL={tried[0]} does not work" in text) == bool(choice)


def test_rendering_that_is_switched_off_says_so(monkeypatch, sentence):
    monkeypatch.setenv("MUJOCO_GL", "off")
    assert "switched off here by MUJOCO_GL=off" in sentence(headless.open_context.__wrapped__())
