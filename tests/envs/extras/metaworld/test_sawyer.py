"""A lane of the real package: our MuJoCo moves its arm to the goal, which is hidden, and pictures are upright."""

from __future__ import annotations

import numpy as np
import pytest

from envs.errors import InputError
from envs.locomotion.headless import make_current

metaworld = pytest.importorskip("metaworld", reason="pip install --no-deps metaworld==3.1.1")
from envs.extras.metaworld import sawyer  # noqa: E402
from envs.extras.metaworld.sawyer import Sawyer  # noqa: E402

REACH = np.array([0, 0.6, 0.02, 0.05, 0.85, 0.2])
"""Where the object starts, and the goal."""


@pytest.fixture(scope="module")
def lane():
    return Sawyer(["reach-v3", "door-close-v3"])


def test_other_versions_are_refused(monkeypatch):
    monkeypatch.setattr(sawyer, "MUJOCO", "3.3.")
    with pytest.raises(ImportError, match=r"mujoco 3\.3"):
        sawyer.load()


@pytest.mark.filterwarnings("ignore:Constant")
def test_the_packages_own_policy_reaches_the_goal_that_observations_hide(lane):
    from metaworld.policies import SawyerReachV3Policy

    lane.set_task({"kind": 0, "rand_vec": REACH})
    (obs, _), reached = lane.reset(seed=0), []
    for _ in range(60):
        assert lane.observation_space.contains(obs) and not obs[-3:].any()
        told = np.concatenate([obs[:-3], REACH[3:]])
        action = np.float32(SawyerReachV3Policy().get_action(told))
        obs, reward, terminated, truncated, info = lane.step(action)
        assert 0 <= reward <= 10 and not terminated and not truncated
        reached.append(info["success"])
    first = reached.index(1.0)
    assert first > 0 and set(reached[first:]) == {1.0}
    for _ in range(40):
        info = lane.step(np.array([0, -1, 0, 0], np.float32))[-1]
    assert info["success"] == 1.0 and info["obj_to_target"] > 0.05  # it has left the goal again


def test_an_episode_follows_from_task_and_actions(lane):
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 4)).astype(np.float32)

    def episode(kind, rand_vec):
        lane.set_task({"kind": kind, "rand_vec": rand_vec})
        return [lane.reset(seed=kind)[0], *(lane.step(action)[0] for action in actions)]

    first = episode(0, REACH)
    door = episode(1, np.array([0.1, 0.95, 0.15, 0, 0, 0]))
    assert np.array_equal(episode(0, REACH), first) and not np.array_equal(door, first)


def test_a_task_that_metaworld_would_draw_again_is_refused(lane):
    lane.set_task({"kind": 0, "rand_vec": np.array([0, 0.6, 0.02, 0, 0.6, 0.2])})
    with pytest.raises(ValueError, match="reach-v3 cannot start"):
        lane.reset()


def test_pictures_are_upright():
    try:
        make_current()
    except InputError as error:
        pytest.skip(str(error))
    drawn = sawyer.maker(["reach-v3"])(render_mode="rgb_array")
    drawn.set_task({"rand_vec": REACH})
    drawn.reset()
    image = drawn.render().astype(float)
    assert image.shape == (480, 480, 3)
    red = image[..., 0] - image[..., 1:].max(-1) > 40  # the arm, which comes from above
    assert red[:240].sum() > red[240:].sum() > 0
