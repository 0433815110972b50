"""The stage: it leaves the simulation alone, and few are kept."""

from __future__ import annotations

import numpy as np
import pytest
from robot_pictures import episode, task

import envs
from envs import InputError
from envs.locomotion import headless


@pytest.fixture(scope="module")
def env():
    return envs.make("half-cheetah-vel", horizon=40)


@pytest.fixture(scope="module", autouse=True)
def opengl():
    try:
        headless.make_current()
    except InputError as error:
        pytest.skip(str(error))


def test_drawing_leaves_the_simulation_alone(env):
    before = env.physics.model.geom_rgba.copy(), env.physics.model.nlight, env.physics.model.geom_size.copy()
    env.render(task(env, 1.0), episode(env, 0.0), size=96)
    np.testing.assert_array_equal(env.physics.model.geom_rgba, before[0])
    np.testing.assert_array_equal(env.physics.model.geom_size, before[2])
    assert env.physics.model.nlight == before[1]


def test_stages_are_kept_and_the_oldest_goes_first(env, monkeypatch):
    from envs.locomotion import stage

    monkeypatch.setattr(stage, "_stages", {})
    monkeypatch.setattr(stage, "MAX_STAGES", 2)
    first = stage.stage(env.model, 60, 40)
    assert stage.stage(env.model, 60, 40) is first
    stage.stage(env.model, 61, 40), stage.stage(env.model, 62, 40)
    assert stage.stage(env.model, 60, 40) is not first
    for made in stage._stages.values():
        made.close()
