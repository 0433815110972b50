"""Recording adaptation, drawing it, and encoding it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

import envs
from envs import InputError
from envs.locomotion import headless
from envs.physics.base import PhysicsState
from metarl.algorithms.base import Stages
from metarl.algorithms.inner import InnerLoss, sgd_adapt
from metarl.learning.rollout import collect
from metarl.policies.mlp import MLPConfig, make_policy
from metarl.video.compose import check_video_path, compose, keep_frame, write_video
from metarl.video.recording import RecordedEpisode, Recording, pace, record_adaptation

NUM_TASKS, NUM_STEPS, NUM_ENVS, HORIZON = 2, 2, 3, 6


def arguments(env):
    policy = make_policy(env.observation_space, env.action_space, MLPConfig((8,)))
    generator = torch.Generator().manual_seed(0)
    params, task = policy.init(generator), env.sample_tasks(NUM_TASKS, generator)
    adapt = sgd_adapt(policy, InnerLoss(0.99, 1.0), 0.1)
    return env, policy, params, task, [adapt] * NUM_STEPS, NUM_ENVS, generator


def record(env, policy, params, task, adapters, num_envs, generator) -> Recording:
    def play(tasks, keep_states):
        return collect(env, policy, params, tasks, adapters, num_envs, generator, keep_states)

    return record_adaptation(play, task, Stages(len(adapters)))


@pytest.fixture(scope="module")
def env():
    return envs.make("point", horizon=HORIZON)


@pytest.fixture(scope="module")
def recording(env) -> Recording:
    return record(*arguments(env))


def test_a_recording_is_what_collect_returns(env, recording):
    trajectories = collect(*arguments(env))
    assert recording.returns.shape == (NUM_STEPS + 1, NUM_TASKS)
    for k, trajectory in enumerate(trajectories):
        torch.testing.assert_close(recording.returns[k], trajectory.returns.mean(1))
        for n in range(NUM_TASKS):
            episode = recording.episodes[n][k]
            torch.testing.assert_close(episode.rewards.sum(), trajectory.returns[n, 0])
            torch.testing.assert_close(episode.states.position[:-1], trajectory.obs[n, :, 0])
            assert len(episode.states.position) == HORIZON + 1


def test_an_episode_is_cut_where_it_ended():
    env = envs.make("point", horizon=40, goal_tolerance=0.3)
    recording = record(*arguments(env))
    for n, goal in enumerate(recording.task.goal):
        lengths = [len(episode.rewards) for episode in recording.episodes[n]]
        assert max(lengths) <= recording.durations[n] <= 40
        for episode in recording.episodes[n]:
            reached = (episode.states.position - goal).abs().amax(-1) < 0.3
            assert not reached[1:-1].any()
            assert bool(reached[-1]) == (len(episode.rewards) < 40)
    assert min(len(episode.rewards) for row in recording.episodes for episode in row) < 40


@pytest.mark.parametrize("size", [201, 240])
def test_frames_are_even_equal_and_as_many_as_promised(env, recording, size):
    frames = list(compose(env, recording, "point", size=size, fps=4))
    assert len(frames) == NUM_TASKS * (HORIZON + 1 + 6)
    assert {frame.shape for frame in frames} == {frames[0].shape}
    height, width, channels = frames[0].shape
    assert height % 2 == width % 2 == 0 and channels == 3 and frames[0].dtype == np.uint8
    assert (frames[HORIZON] == frames[HORIZON + 6]).all()  # held
    assert (frames[0] != frames[HORIZON]).any()


def test_one_step_one_lane_and_no_adaptation():
    env = envs.make("point", horizon=1)
    env, policy, params, task, _, _, generator = arguments(env)
    recording = record(env, policy, params, task, [], 1, generator)
    assert len(list(compose(env, recording, size=200, fps=4))) == NUM_TASKS * (1 + 1 + 6)


def test_skipping_steps_still_shows_the_last(env, recording):
    every_step = list(compose(env, recording, size=200, fps=4))
    fewer = list(compose(env, recording, size=200, fps=4, every=4))
    assert len(fewer) == NUM_TASKS * (2 + 1 + 6)
    np.testing.assert_array_equal(fewer[2], every_step[HORIZON])


def test_the_panels_are_the_environments_images(env, recording):
    frame = next(compose(env, recording, size=200))
    image = env.render(recording.task[0], recording.episodes[0][0].states[:1], [], 200)
    top, left = 132, 24
    np.testing.assert_array_equal(frame[top : top + 200, left : left + 200], image)


def test_another_return_is_another_frame(env, recording):
    other = Recording(
        recording.task,
        recording.episodes,
        recording.mean_rewards * 2,
        recording.durations,
        recording.num_envs,
        recording.stages,
    )
    first, second = (list(compose(env, r, size=200, fps=4))[HORIZON] for r in (recording, other))
    assert (first != second).any()


def test_an_ended_episode_is_marked(env, recording):
    """The same episodes on an environment with a longer horizon have ended early."""
    longer = envs.make("point", horizon=HORIZON + 1)
    plain, marked = (list(compose(e, recording, size=280, fps=4)) for e in (env, longer))
    np.testing.assert_array_equal(plain[HORIZON - 1], marked[HORIZON - 1])
    assert (plain[HORIZON] != marked[HORIZON]).any()


def test_every_task_is_played_at_a_pace_to_follow(recording):
    for horizon in (1, 5, 20, 100, 200, 1000, 5000):
        every, fps = pace(Recording(recording.task, [], recording.mean_rewards, [horizon], 1, recording.stages))
        assert 6 <= fps <= 30 and horizon / every / fps < 9
        assert horizon < 20 or horizon / every / fps > 3


def noise(count: int, shape=(64, 96)):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*shape, 3), dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
@pytest.mark.parametrize("shape", [(64, 96), (65, 97)])
def test_the_file_holds_the_frames(tmp_path, suffix, shape):
    from moviepy import VideoFileClip

    path = write_video(iter(noise(12, shape)), tmp_path / "new" / f"x{suffix}", fps=4)
    with VideoFileClip(str(path)) as clip:
        assert clip.size == [96, 64]
        assert clip.fps == pytest.approx(4, abs=0.2)
        assert clip.duration == pytest.approx(3, abs=0.01)
        assert sum(1 for _ in clip.iter_frames()) == pytest.approx(12, abs=0 if suffix == ".mp4" else 1)
    assert os.listdir(path.parent) == [path.name]


def test_the_colours_survive_encoding(tmp_path):
    from moviepy import VideoFileClip

    colours = ((255, 255, 255), (47, 111, 222), (226, 88, 47))
    frames = [np.full((64, 64, 3), colour, np.uint8) for colour in colours]
    with VideoFileClip(str(write_video(frames, tmp_path / "x.mp4", fps=2))) as clip:
        for t, colour in enumerate(colours):
            np.testing.assert_allclose(clip.get_frame(t / 2)[32, 32], colour, atol=8)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    def frames():
        yield from noise(3)
        raise error

    path = tmp_path / "x.mp4"
    path.write_bytes(b"before")
    with pytest.raises(error):
        write_video(frames(), path, fps=4)
    assert os.listdir(tmp_path) == ["x.mp4"] and path.read_bytes() == b"before"


def test_a_video_in_the_making_is_in_no_folder_of_the_users(tmp_path):
    """So that a kill leaves nothing there."""
    seen = []

    def frames():
        for frame in noise(3):
            yield frame
            seen.append(os.listdir(tmp_path))

    write_video(frames(), tmp_path / "x.mp4", fps=4)
    assert seen == [[]] * 3 and os.listdir(tmp_path) == ["x.mp4"]


def test_what_cannot_be_written_is_said(tmp_path):
    for name in ("x.avi", "x", "x.MP3"):
        with pytest.raises(InputError, match=r"must end in \.mp4 or \.gif"):
            check_video_path(tmp_path / name)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written to the folder"):
        write_video(noise(1), tmp_path / "file" / "x.mp4", fps=4)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        check_video_path(tmp_path / "folder.mp4")
    with pytest.raises(InputError, match="at least one frame"):
        write_video([], tmp_path / "x.mp4", fps=4)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.mp4"]


def test_a_whole_video(tmp_path, env, recording):
    from moviepy import VideoFileClip

    every, fps = pace(recording)
    path = write_video(compose(env, recording, "point", every=every, fps=fps), tmp_path / "x.mp4", fps)
    with VideoFileClip(str(path)) as clip:
        assert clip.duration == pytest.approx(NUM_TASKS * (HORIZON + 1 + round(1.5 * fps)) / fps, abs=0.01)


def decode(path: Path, fps: int) -> list[np.ndarray]:
    """The frames of a file as a player shows them."""
    if path.suffix == ".gif":
        with Image.open(path) as image:
            return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
    from moviepy import VideoFileClip

    with VideoFileClip(str(path)) as clip:
        return [clip.get_frame((k + 0.5) / fps) for k in range(round(clip.duration * fps))]


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_file_starts_at_the_first_step_and_holds_the_last(tmp_path, env, recording, suffix):
    def differing(a, b):  # share of pixels, beyond what encoding does to them
        return (np.abs(a.astype(int) - b).max(-1) > 60).mean()

    frames = list(compose(env, recording, "point", every=2, fps=6))
    path = write_video(frames, tmp_path / f"x{suffix}", 6)
    per_task = len(frames) // NUM_TASKS
    shown = decode(path, 6)
    assert len(shown) == len(frames)
    for start in range(0, len(frames), per_task):
        step_0, end = frames[start], frames[start + per_task - 1]
        assert differing(step_0, end) > 0.005
        assert differing(shown[start], step_0) < 0.0005
        assert all(differing(frame, end) < 0.0005 for frame in shown[start + per_task - 7 : start + per_task])  # 1 s


def test_a_kept_frame_is_in_full_colour(tmp_path, env, recording):
    frames = list(compose(env, recording, "point", size=200, fps=4))
    handed_on = list(keep_frame(iter(frames), HORIZON, tmp_path / "frame.png"))
    assert len(handed_on) == len(frames) and all(a is b for a, b in zip(handed_on, frames, strict=True))
    with Image.open(tmp_path / "frame.png") as image:
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), frames[HORIZON])


def test_pictures_that_link_to_a_video_have_all_their_colours():
    """A palette of few colours had turned the stages' greens and violets into one blue."""
    root = Path(__file__).parents[3]
    linked = re.findall(r"\]\((videos/[^)]+\.png)\)\]\(videos/[^)]+\.mp4\)", (root / "README.md").read_text())
    assert len(linked) >= 2
    for name in linked:
        with Image.open(root / name) as image:
            assert image.mode == "RGB", name


def test_robots_in_a_row_have_one_axis_which_stays():
    try:
        headless.make_current()
    except InputError as error:
        pytest.skip(str(error))
    env = envs.make("half-cheetah-vel", horizon=10)
    task = env.task_from_dicts([{"goal_velocity": 1.0}])

    def run(speed: float) -> RecordedEpisode:
        qpos = env.start.repeat(11, 1)
        qpos[:, 0] += speed * env.physics.dt * torch.arange(11)
        return RecordedEpisode(PhysicsState(qpos, torch.zeros_like(qpos), torch.zeros_like(qpos)), torch.zeros(10))

    recording = Recording(task, [[run(0.5), run(6.0), run(-3.0)]], torch.zeros(3, 1, 10), [10], 1, Stages(2))
    heights = set()
    for frame in compose(env, recording, size=300, every=5, fps=2):
        for k in range(3):
            left = 24 + k * 316
            goal = np.abs(frame[132 + 210 : 132 + 300, left : left + 300].astype(int) - (226, 88, 47)).max(-1) < 30
            heights.add(float(np.flatnonzero(goal.any(1)).mean()))
    assert len(heights) == 1, "the line of the goal lies at one height in all panels and at all times"


def test_the_view_stays_while_the_point_moves_and_leaves():
    """Away from the paths, Point's picture does not depend on the episode."""
    env = envs.make("point")
    task = env.task_from_dicts([{"goal": [0.3, 0.3]}])[0]
    path = torch.linspace(0, 30, 40)[:, None] * torch.tensor([-0.1, 0.0])
    images = [env.render(task, envs.point.State(path[:t]), size=160) for t in (1, 5, 40)]
    for image in images[1:]:
        np.testing.assert_array_equal(image[:60], images[0][:60])
        assert (image[60:100] != images[0][60:100]).any()
