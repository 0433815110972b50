"""Pictures of robots: the scene, what stands on it, words and the chart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from robot_pictures import episode, task
from words import collisions, words_drawn

import envs
from envs import InputError
from envs.locomotion import headless
from envs.locomotion.picture import Chart, Mark


@pytest.fixture(scope="module")
def env():
    return envs.make("half-cheetah-vel", horizon=40)


BLUE, ORANGE, GREY = (31, 95, 180), (226, 88, 47), (204, 210, 218)


def near(image: np.ndarray, colour: tuple[int, int, int], slack: int = 30) -> np.ndarray:
    """Where an image has a colour, bool [size, size]."""
    return (np.abs(image.astype(int) - colour) <= slack).all(-1)


def robot_pixels(image: np.ndarray) -> np.ndarray:
    """Where the scene is strongly blue, as the robot is and the ground is not."""
    scene = image[: round(0.7 * len(image))].astype(int)
    blue = scene[..., 2] - scene[..., 0] > 60
    blue[: len(image) // 10] = False  # the number above
    return blue


BALL = """
<mujoco><worldbody>
  <geom type="plane" size="5 5 5"/>
  <body pos="0 0 0.5">
    <freejoint/><geom size="0.2"/>
    <body><geom type="capsule" fromto="0 0 0 0.5 0 -0.4" size="0.06"/></body>
  </body>
</worldbody></mujoco>
"""


@pytest.fixture
def ball(tmp_path, monkeypatch):
    """A stage for a robot in 3-D."""
    from envs.locomotion import stage

    (tmp_path / "ball.xml").write_text(BALL)
    monkeypatch.setattr(stage, "MODELS", tmp_path)
    made = stage.Stage("ball", 240, 168)
    yield made
    made.close()


def path_of(*places: tuple[float, float]) -> np.ndarray:
    return np.array([[x, y, 0.5, 1, 0, 0, 0] for x, y in places])


@pytest.fixture(scope="module", autouse=True)
def opengl():
    try:
        headless.make_current()
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("size", [96, 300, 480])
def test_an_image_of_any_size(env, size):
    image = env.render(task(env, 1.0), episode(env, 0.0, 0.1), [episode(env, 0.0)], size)
    assert image.shape == (size, size, 3) and image.dtype == np.uint8
    assert 0.01 < robot_pixels(image).mean() < 0.3


def test_the_pose_and_only_the_pose_makes_the_scene(env):
    first, again = (env.render(task(env, 1.0), episode(env, 0.0), size=160) for _ in range(2))
    other = env.render(task(env, 1.0), episode(env, 0.0, bend=0.3), size=160)
    np.testing.assert_array_equal(first, again)
    assert (robot_pixels(first) != robot_pixels(other)).mean() > 0.005


@pytest.mark.parametrize("metres", [2, 100, -30])
def test_the_camera_follows_over_an_endless_ground(env, metres):
    """Two squares of 1 m on, the same picture: robot and ground. Only the numbers on the ground are others."""
    here, there = (env.render(task(env, 1.0), episode(env, x), size=200) for x in (0.0, float(metres)))
    same = (np.abs(here[:140].astype(int) - there[:140]) < 12).all(-1)
    assert same.mean() > 0.97
    assert same[robot_pixels(here)].mean() > 0.97
    columns = np.flatnonzero(robot_pixels(here).any(0))
    assert 60 < columns.mean() < 140 and columns.min() > 15 and columns.max() < 185


def test_half_a_metre_moves_the_ground_and_not_the_robot(env):
    here, there = (env.render(task(env, 1.0), episode(env, x), size=200) for x in (0.0, 0.5))
    assert (robot_pixels(here) != robot_pixels(there)).mean() < 0.01
    assert (np.abs(here[:140].astype(int) - there[:140]).max(-1) > 8).mean() > 0.1


def test_the_chart_shows_value_target_and_the_past(env):
    dt = env.physics.dt
    steady = episode(env, *(2.0 * dt * np.arange(31)))  # 2 m/s
    slow = episode(env, *(0.5 * dt * np.arange(41)))
    image = env.render(task(env, 1.0), steady, [slow], 480)
    chart = image[336:]
    middle = slice(150, 300)  # columns between the start and the end of the episode
    height = {
        name: np.flatnonzero(near(chart[:, middle], colour, 8).any(1)).mean()
        for name, colour in (("now", BLUE), ("goal", ORANGE), ("past", GREY))
    }
    # An axis from 0: 2 m/s is twice as far from 0.5 as 1 m/s is, and up is up.
    assert height["now"] < height["goal"] < height["past"]
    assert (height["past"] - height["now"]) / (height["past"] - height["goal"]) == pytest.approx(3, abs=0.3)
    assert not near(chart[:, 380:440], BLUE).any()  # 31 of 41 states: time runs over the whole horizon
    assert near(chart[:, 380:440], GREY, 8).any()


def test_the_numbers_say_goal_and_value(env):
    """The line of text changes with either, each at its own end."""
    moving = episode(env, *(0.1 * np.arange(9)))
    top = [
        env.render(task(env, goal), e, size=300)[:30]
        for goal, e in ((1.0, moving), (1.5, moving), (1.0, episode(env, *([0.8] * 9))))
    ]
    assert near(top[0][:, :150], ORANGE).any() and near(top[0][:, 150:], BLUE).any()
    assert (top[0][:, :150] != top[1][:, :150]).any() and (top[0][:, 150:] == top[1][:, 150:]).all()
    assert (top[0][:, 150:] != top[2][:, 150:]).any()


@pytest.mark.parametrize("size", [96, 200, 300])
def test_the_words_of_a_picture_stand_apart(env, size):
    with words_drawn() as drawn:
        env.render(task(env, -1.25), episode(env, -98.0, -98.7, -99.4, -100.1), size=size)
    pictures: dict[int, tuple] = {}
    for words, box, extent, image in drawn:
        pictures.setdefault(id(image), (extent, []))[1].append((words, box))
    assert len(pictures) == 2  # scene and chart
    for extent, found in pictures.values():
        assert collisions(found, extent) == []


def test_a_direction_is_an_arrow_and_a_word():
    env = envs.make("half-cheetah-dir")
    forward, backward = (
        env.render(env.task_from_dicts([{"direction": d}])[0], episode(env, 0.0), size=240) for d in (1, -1)
    )
    middle = []
    for image in (forward, backward):
        assert near(image[:24, :120], ORANGE, 60).any()
        middle.append(np.flatnonzero(near(image[30:168], ORANGE, 60).any(0)).mean())
    assert middle[0] > 120 + 10 and middle[1] < 120 - 10


@pytest.mark.parametrize(
    ("marks", "planar", "words"),
    [
        ([Mark((1.234, -0.04))], False, "(1.2, 0.0) m"),
        ([Mark(angle=-math.pi / 2)], False, "270°"),
        ([Mark(angle=math.pi)], True, "backward"),
        ([], True, "−1.40 m/s"),
    ],
)
def test_a_goal_in_words(marks, planar, words):
    from envs.locomotion.render import goal

    assert goal(Chart("velocity (m/s)", np.zeros(1), -1.4), marks, "m/s", planar) == words
    assert goal(Chart("velocity (m/s)", np.zeros(1)), [], "m/s", planar) == ""


def test_an_axis_holds_everything():
    from envs.locomotion.render import limits

    assert limits([np.array([0.3, 1.1])], 1.4) == (0.0, 2.0, 1.0)
    assert limits([np.zeros(3)], None) == (0.0, 1.0, 0.5)
    assert limits([np.zeros(3)], 0.0)[0] < limits([np.zeros(3)], 0.0)[1]
    for scale in (1e-3, 1.0, 70.0):
        values = scale * np.random.default_rng(0).normal(size=50)
        low, high, step = limits([values[:20], values[20:]], 2 * scale)
        assert low <= values.min() and high >= max(values.max(), 2 * scale)
        assert 2 <= round((high - low) / step) <= 6


@pytest.mark.parametrize("place", [(1.0, 0.0), (0.0, 3.0), (-4.0, -4.0)])
def test_a_goal_on_the_ground_stays_in_sight(ball, place):
    from envs.locomotion.render import film

    image = np.asarray(film(ball, False, [path_of((0, 0))], [Mark(place)]))
    x, y, _ = ball.project(np.array([[*place, 0.005]]))[0]
    assert 0 < x < 240 and 0 < y < 168
    assert near(image[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3], ORANGE, 60).mean() > 0.5


def test_the_trail_lies_where_the_robot_went(ball):
    from envs.locomotion.render import film

    walk = path_of(*((-0.1 * i, -0.05 * i) for i in range(20, -1, -1)))
    image = np.asarray(film(ball, False, [walk], []))
    points = ball.project(np.array([[-0.6, -0.3, 0.0], [-0.6, -0.05, 0.0]]))[:, :2].round().astype(int)
    on, off = (image[y, x].astype(int) for x, y in points)
    assert on[2] - on[0] > off[2] - off[0] + 40
