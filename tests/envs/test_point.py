"""2D navigation against a hand-written formula, and the laws of its tasks."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Generator

import envs
from envs.point import PRESETS, State, Task

unit = st.floats(-1, 1, width=32)
wide = st.floats(-3, 3, width=32)
pair = st.tuples(unit, unit)


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def one_step(env, goal, position, action):
    """(position [2], reward, terminated) of a single lane."""
    task, state = Task(torch.tensor([goal])), State(torch.tensor([[position]]))
    result = env.step(task, state, torch.tensor([[action]]), generator())
    assert torch.equal(result.obs, result.state.position)
    return result.obs[0, 0].numpy(), result.reward.item(), result.terminated.item()


@pytest.mark.parametrize("reward", ["squared", "distance", "sparse"])
@given(goal=pair, position=pair, action=st.tuples(wide, wide))
def test_a_step_follows_the_formula(reward, goal, position, action):
    env = envs.make("point", reward=reward, sparse_radius=0.2, max_step=0.1, goal_tolerance=0.01)
    after = np.asarray(position) + 0.1 * np.clip(action, -1, 1)
    offset = np.abs(after - goal)
    distance = float(np.hypot(*offset))
    assume(abs(offset.max() - 0.01) > 1e-5 and abs(distance - 0.2) > 1e-5)
    expected = {"squared": -(distance**2), "distance": -distance, "sparse": 1 - distance if distance < 0.2 else 0.0}
    got_position, got_reward, terminated = one_step(env, goal, position, action)
    assert got_position == pytest.approx(after, abs=1e-6)
    assert got_reward == pytest.approx(expected[reward], abs=1e-5)
    assert terminated == (offset.max() < 0.01)


def test_the_sparse_reward_pays_near_the_goal_only():
    env = envs.make("point", "semicircle-sparse")
    assert one_step(env, (0.5, 0.0), (0.35, 0.0), (0.0, 0.0))[1] == pytest.approx(0.85)
    assert one_step(env, (0.5, 0.0), (0.25, 0.0), (0.0, 0.0))[1] == 0.0


@pytest.mark.parametrize(
    ("position", "ends"),
    [((0.009, -0.009), True), ((0.0, 0.0), True), ((0.011, 0.0), False), ((0.0, -0.011), False)],
)
def test_termination_asks_for_both_coordinates(position, ends):
    env = envs.make("point", goal_tolerance=0.01)
    assert one_step(env, (0.0, 0.0), position, (0.0, 0.0))[2] is ends


def test_a_goal_at_the_start_does_not_end_the_episode_before_it_began():
    env = envs.make("point")
    assert one_step(env, (0.0, 0.0), (0.0, 0.0), (1.0, 0.0))[2] is False
    assert one_step(env, (0.0, 0.0), (0.1, 0.0), (-1.0, 0.0))[2] is True


def test_without_tolerance_an_episode_never_terminates():
    env = envs.make("point", "semicircle")
    assert one_step(env, (0.5, 0.5), (0.5, 0.5), (0.0, 0.0))[1:] == (0.0, False)


def test_a_row_of_a_batch_steps_exactly_as_it_would_alone():
    for preset in PRESETS:
        env = envs.make("point", preset)
        task, draws = env.sample_tasks(8, generator(1)), generator(2)
        state, _ = env.reset(task, 3, draws)
        for _ in range(10):
            action = 3 * torch.randn(8, 3, 2, generator=draws)
            result = env.step(task, state, action, draws)
            for i in range(8):
                alone = env.step(task[i : i + 1], state[i : i + 1, 1:2], action[i : i + 1, 1:2], generator())
                for name in ("obs", "reward", "terminated"):
                    assert torch.equal(getattr(alone, name)[0, 0], getattr(result, name)[i, 1])
            state = result.state


def test_observations_do_not_tell_the_goal():
    env = envs.make("point")
    task = Task(torch.tensor([[0.4, 0.4], [-0.1, 0.3]]))
    state, obs = env.reset(task, 1, generator())
    assert obs.shape == (2, 1, 2) and (obs == 0).all()
    result = env.step(task, state, torch.tensor([0.3, -0.9]).expand(2, 1, 2), generator())
    assert torch.equal(result.obs[0], result.obs[1]) and result.reward[0] != result.reward[1]


@pytest.mark.parametrize("preset", PRESETS)
def test_the_straight_line_reaches_every_goal(preset):
    env = envs.make("point", preset)
    for split in env.splits:
        task = env.sample_tasks(50, generator(3), split)
        state, _ = env.reset(task, 1, generator())
        reached = torch.zeros(50, 1, dtype=torch.bool)
        for _ in range(math.ceil(2 * env.config.goal_scale / env.config.max_step)):
            result = env.step(task, state, env.straight_line(task, state, None, generator()), generator())
            state, reached = result.state, reached | result.terminated
        assert (state.position[:, 0] - task.goal).abs().max() < 1e-6
        assert reached.all() == (env.config.goal_tolerance > 0)


class TestBox:
    """Goals uniform in a square of half side s; `ood` in the frame between it and its double."""

    scale = 0.4

    def goals(self, split: str) -> torch.Tensor:
        return envs.make("point", goal_scale=self.scale).sample_tasks(30_000, generator(5), split).goal

    @pytest.mark.parametrize("split", ["train", "validation", "test"])
    def test_goals_are_uniform_in_the_square(self, split):
        goal = self.goals(split)
        assert goal.abs().max() <= self.scale
        assert goal.mean(0).numpy() == pytest.approx(np.zeros(2), abs=0.01)
        assert goal.T.cov().numpy() == pytest.approx(np.eye(2) * self.scale**2 / 3, abs=0.001)
        quarter = (goal.abs() < self.scale / 2).all(-1).float().mean()
        assert quarter.item() == pytest.approx(0.25, abs=0.015)

    def test_ood_goals_are_uniform_in_the_frame(self):
        goal = self.goals("ood")
        radius = goal.abs().amax(-1)
        assert radius.min() >= self.scale * (1 - 1e-6) and radius.max() <= 2 * self.scale * (1 + 1e-6)
        assert goal.mean(0).numpy() == pytest.approx(np.zeros(2), abs=0.02)
        corners = (goal.abs() > self.scale).all(-1).float().mean()  # 4 s² of the frame's 12 s²
        assert corners.item() == pytest.approx(1 / 3, abs=0.015)
        inner = (radius < 1.5 * self.scale).float().mean()  # (9 - 4) s² of it
        assert inner.item() == pytest.approx(5 / 12, abs=0.015)


class TestSemicircle:
    """Goals uniform on the upper half circle; `ood` on the lower one."""

    @pytest.mark.parametrize(("split", "side"), [("train", 1), ("test", 1), ("ood", -1)])
    def test_angles_are_uniform_over_half_a_turn(self, split, side):
        goal = envs.make("point", "semicircle").sample_tasks(30_000, generator(6), split).goal
        assert goal.norm(dim=-1).numpy() == pytest.approx(1, abs=1e-5)
        assert (side * goal[:, 1] > -1e-6).all()
        angle = torch.atan2(side * goal[:, 1], goal[:, 0])
        assert angle.mean().item() == pytest.approx(math.pi / 2, abs=0.03)
        assert angle.std().item() == pytest.approx(math.pi / math.sqrt(12), abs=0.02)


class TestRender:
    """Images show the goal, the position and earlier episodes."""

    env = envs.make("point")
    path = State(torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.2, 0.1]]))

    def image(self, goal=(0.3, 0.3), path=path, **options) -> np.ndarray:
        return self.env.render(Task(torch.tensor(goal)), path, **options)

    def test_shape_and_type(self):
        assert self.image().shape == (480, 480, 3) and self.image().dtype == np.uint8
        assert self.image(size=64).shape == (64, 64, 3)

    def test_it_depends_on_its_arguments_alone(self):
        assert np.array_equal(self.image(), self.image())

    def test_the_goal_moves_pixels_where_it_is(self):
        changed = (self.image((0.3, 0.3)) != self.image((-0.3, 0.3))).any(-1)
        rows, columns = np.nonzero(changed)
        assert rows.size and rows.max() < 240, "both goals lie above the middle"
        assert columns.min() < 240 < columns.max(), "and one on each side of it"
        assert not changed[:, 200:280].any()

    def test_position_path_and_earlier_episodes_are_drawn(self):
        images = [self.image(), self.image(path=self.path[:2]), self.image(earlier=[State(-self.path.position)])]
        for i in range(3):
            assert (images[i] != images[i - 1]).any()
