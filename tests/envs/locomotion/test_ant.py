"""The ant's directions and goals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from robots import generator, walk

import envs
from envs.physics.base import PhysicsState


class TestDirections:
    def test_angles_are_in_radians(self):
        """Elsewhere forward and backward are 1 and -1, read as radians."""
        env = envs.make("ant-dir")
        angles = env.sample_tasks(100, generator()).angle
        assert sorted({round(float(x), 5) for x in angles}) == [0.0, round(math.pi, 5)]
        task = env.task_from_dicts([{"angle": x} for x in (0.0, math.pi, math.pi / 2, 1.0)])
        state = walk(env, task[:1], 1).map(lambda x: x.expand(4, *x.shape[1:]))
        result = env.step(task, state, torch.zeros(4, 1, 8), generator())
        dx, dy = ((result.state.qpos - state.qpos)[0, 0, :2] / 0.05).tolist()
        earned = result.reward[:, 0].numpy()
        assert earned[0] - earned[1] == pytest.approx(2 * dx, abs=1e-5)
        assert earned[2] - earned[1] == pytest.approx(dx + dy, abs=1e-5)
        assert earned[3] - earned[1] == pytest.approx(dx + math.cos(1) * dx + math.sin(1) * dy, abs=1e-5)

    def test_the_chart_shows_the_velocity_along_the_direction(self):
        env = envs.make("ant-dir", "pearl")
        task = env.task_from_dicts([{"angle": math.pi / 2}])
        position = torch.tensor([[0.0, 0.0], [1.0, 0.1], [2.0, -0.1]])
        episode = PhysicsState(torch.cat([position, torch.zeros(3, 13)], -1), torch.zeros(3, 14), torch.zeros(3, 14))
        chart = env.chart(task[0], episode)
        assert chart.values == pytest.approx([0, 2, -4], abs=1e-5) and chart.target is None
        assert env.marks(task[0])[0].angle == pytest.approx(math.pi / 2)
        goal = envs.make("ant-goal")
        chart = goal.chart(goal.task_from_dicts([{"goal": [0.0, -0.1]}])[0], episode)
        assert chart.values == pytest.approx([0.1, math.hypot(1, 0.2), 2.0], abs=1e-5) and chart.target == 0


class TestLawsOfTasks:
    """Splits lie where their sentences say."""

    def draw(self, family, split, preset=None, **fields):
        return envs.make(family, preset, **fields).sample_tasks(20_000, generator(5), split)

    def test_two_directions_and_those_at_right_angles(self):
        for split, expected in {"train": (0, 1), "validation": (0, 1), "test": (0, 1), "ood": (0.5, 1.5)}.items():
            values, counts = torch.unique(self.draw("ant-dir", split).angle, return_counts=True)
            assert values.numpy() / math.pi == pytest.approx(np.array(expected), abs=1e-6)
            assert counts[0] / 20_000 == pytest.approx(0.5, abs=0.02)

    def test_any_direction(self):
        for split in ("train", "validation", "test"):
            angle = self.draw("ant-dir", split, "pearl").angle
            assert angle.min() >= 0 and angle.max() <= np.float32(2 * math.pi)
            quarters = torch.histc(angle, 4, 0, 2 * math.pi) / 20_000
            assert quarters.numpy() == pytest.approx(np.full(4, 0.25), abs=0.015)
        with pytest.raises(envs.InputError, match="Unknown split 'ood'"):
            self.draw("ant-dir", "ood", "pearl")

    def test_goals_are_uniform_in_the_disk_and_the_ring(self):
        for split, inner, outer in (("train", 0.0, 3.0), ("test", 0.0, 3.0), ("ood", 3.0, 4.5)):
            goal = self.draw("ant-goal", split).goal
            squared = goal.square().sum(-1)
            assert squared.min() >= inner**2 * (1 - 1e-5) and squared.max() <= outer**2 * (1 + 1e-5)
            below = (squared < (inner**2 + outer**2) / 2).float().mean()  # half of the area
            assert below.item() == pytest.approx(0.5, abs=0.02)
            assert goal.mean(0).numpy() == pytest.approx(np.zeros(2), abs=0.06)
