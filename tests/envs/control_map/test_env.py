"""Reaching under a hidden map: the law of the maps, and steps against hand-computed numbers."""

import math

import pytest
import torch
from torch import Generator

import envs
from envs.control_map import State, Task


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def angles(control: torch.Tensor) -> torch.Tensor:
    """Where maps [..., 2, 2] turn the first axis, in degrees."""
    return torch.rad2deg(torch.atan2(control[..., 1, 0], control[..., 0, 0]))


class TestTasks:
    def test_maps_are_a_gain_times_a_rotation_or_reflection(self):
        control = envs.make("control-map").sample_tasks(20_000, generator(1)).control[:, 0].double()
        gain = control.det().abs().sqrt()
        assert (control.mT @ control - gain.square()[:, None, None] * torch.eye(2)).abs().max() < 1e-6
        assert gain.min() >= 0.5 and gain.max() <= 1.5 and gain.mean().item() == pytest.approx(1.0, abs=0.01)
        assert gain.std().item() == pytest.approx(12**-0.5, abs=0.01)
        assert (control.det() < 0).double().mean().item() == pytest.approx(0.5, abs=0.02)
        assert control.mean(0).abs().max() < 0.03, "without memory, no direction is better than another"

    @pytest.mark.parametrize(("split", "beyond"), [("train", True), ("test", True), ("ood", False)])
    def test_rotations_around_90_degrees_are_held_out(self, split, beyond):
        for preset in ("map", "rotation", "changing"):
            angle = angles(envs.make("control-map", preset).sample_tasks(5000, generator(2), split).control)
            off = (angle.abs() - 90).abs()  # from the nearer of 90° and -90°
            assert ((off > 22.5 - 1e-3) == beyond).all() and off.max() > (89 if beyond else 22)
            assert (angle > 0).double().mean().item() == pytest.approx(0.5, abs=0.05)

    def test_nothing_is_held_out_where_that_is_asked_for(self):
        env = envs.make("control-map", held_out=0)
        assert set(env.splits) == {"train", "validation", "test"}
        counts = torch.histc(angles(env.sample_tasks(30_000, generator(3)).control), 8, -180, 180) / 30_000
        assert (counts - 1 / 8).abs().max() < 0.01

    def test_rotations_alone(self):
        control = envs.make("control-map", "rotation").sample_tasks(100, generator(4)).control
        assert torch.allclose(control.det(), torch.ones(100, 1))

    def test_a_task_that_changes_holds_a_map_for_each_goal(self):
        control = envs.make("control-map", "changing").sample_tasks(20_000, generator(5)).control
        assert control.shape == (20_000, 4, 2, 2)
        changed = (control[:, 1:] != control[:, :-1]).any(-1).any(-1).double()
        assert changed.mean(0).tolist() == pytest.approx([0.5] * 3, abs=0.02)

    @pytest.mark.parametrize("wrong", [[[1.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    def test_another_matrix_is_refused(self, wrong):
        with pytest.raises(envs.InputError, match="control"):
            envs.make("control-map").task_from_dicts([{"control": [[[0.0, 2.0], [2.0, 0.0]]]}, {"control": [wrong]}])


def one_step(env, control, position, goal, action, time=0):
    """The StepResult of a single lane."""
    position, goal, action = (torch.tensor([[pair]]) for pair in (position, goal, action))
    state = State(position, goal, torch.tensor([[time]]))
    return env.step(Task(torch.tensor([control])), state, action, generator())


class TestSteps:
    @pytest.mark.parametrize(
        ("control", "action", "moved"),
        [
            ([[1.0, 0.0], [0.0, 1.0]], (0.5, -0.25), (0.2, -0.1)),
            ([[0.0, -1.0], [1.0, 0.0]], (0.5, -0.25), (0.1, 0.2)),  # a quarter turn to the left
            ([[0.0, 1.5], [1.5, 0.0]], (0.5, -0.25), (-0.15, 0.3)),  # mirrored at the diagonal
            ([[0.6, -0.8], [0.8, 0.6]], (3.0, -9.0), (0.56, 0.08)),  # clipped to (1, -1) before it is turned
        ],
    )
    def test_an_action_moves_through_the_map(self, control, action, moved):
        result = one_step(envs.make("control-map"), [control], (0.3, 0.1), (-0.6, 0.8), action)
        x, y = 0.3 + moved[0], 0.1 + moved[1]
        assert result.state.position[0, 0].tolist() == pytest.approx([x, y], abs=1e-6)
        assert result.obs[0, 0].tolist() == pytest.approx([x, y, -0.6 - x, 0.8 - y], abs=1e-6)
        assert result.reward.item() == pytest.approx(-math.hypot(-0.6 - x, 0.8 - y), abs=1e-6)
        assert not result.terminated.item() and result.state.time.item() == 1

    def test_every_episode_starts_in_the_middle_with_a_goal_of_its_own(self):
        env = envs.make("control-map", goal_distance=2.0)
        task, draws = env.sample_tasks(3, generator()), generator(1)
        (first, obs), (second, _) = env.reset(task, 5000, draws), env.reset(task, 5000, draws)
        assert not first.position.any() and torch.equal(obs, torch.cat([first.position, first.goal], -1))
        assert torch.allclose(first.goal.norm(dim=-1), torch.tensor(2.0))
        assert first.goal.mean((0, 1)).abs().max() < 0.06 and (first.goal != second.goal).any(-1).all()

    def test_a_goal_stays_during_an_episode(self):
        env = envs.make("control-map")
        task, draws = env.sample_tasks(2, generator()), generator(1)
        start, _ = env.reset(task, 3, draws)
        state = start
        for _ in range(env.horizon):
            state = env.step(task, state, env.random_actions(task, state, None, draws), draws).state
        assert torch.equal(state.goal, start.goal) and (state.position != 0).all()

    def test_a_new_goal_within_an_episode_is_approached_from_the_start_under_its_own_map(self):
        env = envs.make("control-map", "changing", horizon=6, reach=3)
        left, mirrored = [[0.0, -1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, -1.0]]
        task, draws = Task(torch.tensor([[left, mirrored]])), generator(1)
        state, _ = env.reset(task, 1, draws)
        seen, goals, action = [], [], torch.tensor([[[0.0, 1.0]]])
        for _ in range(6):
            before, result = state.goal, env.step(task, state, action, draws)
            state = result.state
            seen.append(state.position[0, 0].tolist())
            goals.append(before[0, 0].tolist())
        expected = [(-0.4, 0), (-0.8, 0), (0, 0), (0, -0.4), (0, -0.8), (0, -1.2)]
        assert torch.allclose(torch.tensor(seen), torch.tensor(expected, dtype=torch.float32), atol=1e-6)
        assert goals[0] == goals[2] != goals[3] == goals[5]
        assert result.reward.item() == pytest.approx(-math.dist(goals[5], (0, -1.2)), abs=1e-6)

    def test_the_reward_before_a_new_goal_is_that_of_the_old_one(self):
        env = envs.make("control-map", "changing")
        result = one_step(env, [[[1.0, 0.0], [0.0, 1.0]]] * 4, (0.5, 0.0), (1.0, 0.0), (0.25, 0.0), time=11)
        assert result.reward.item() == pytest.approx(-0.4) and result.state.position.tolist() == [[[0.0, 0.0]]]

    def test_a_row_of_a_batch_steps_exactly_as_it_would_alone(self):
        env, draws = envs.make("control-map", "changing"), generator(2)
        task = env.sample_tasks(4, generator(1))
        state, _ = env.reset(task, 3, draws)
        state = State(state.position, state.goal, torch.randint(11, (4, 3), generator=draws) + 12)
        action = 2 * torch.randn(4, 3, 2, generator=draws)
        result = env.step(task, state, action, draws)
        for i in range(4):
            alone = env.step(task[i : i + 1], state[i : i + 1, 1:2], action[i : i + 1, 1:2], generator())
            for name in ("obs", "reward"):
                both = getattr(alone, name)[0, 0], getattr(result, name)[i, 1]
                assert torch.equal(*both) or (name == "obs" and state.time[i, 1] == 23)
