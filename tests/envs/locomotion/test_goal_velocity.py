"""The law of goal velocities."""

from __future__ import annotations

import pytest
from robots import generator

import envs


class TestLawsOfTasks:
    """Splits lie where their sentences say."""

    def draw(self, family, split, preset=None, **fields):
        return envs.make(family, preset, **fields).sample_tasks(20_000, generator(5), split)

    @pytest.mark.parametrize("split", ["train", "validation", "test"])
    @pytest.mark.parametrize(("family", "top"), [("half-cheetah-vel", 2.0), ("ant-vel", 3.0)])
    def test_goal_velocities(self, family, top, split):
        v, ood = (self.draw(family, name).goal_velocity for name in (split, "ood"))
        assert v.min() >= 0 and v.max() <= top and v.mean().item() == pytest.approx(top / 2, rel=0.02)
        assert ood.min() >= top and ood.max() <= 1.5 * top and ood.mean().item() == pytest.approx(1.25 * top, rel=0.01)
