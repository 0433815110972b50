"""How lanes of Gymnasium environments are measured."""

from __future__ import annotations

from metarl.cli.benchmark.lanes import MAKE, cart_pole, gymnasium_lanes, rate
from metarl.cli.session import TrainSession


def test_workers_and_plain_loops_are_measured():
    figures = gymnasium_lanes(TrainSession(), 1, "cart-pole", "worker", 2)
    assert min(figures.values()) > 0
    assert rate("loop", "cart-pole", 2, 1) > 0


def test_the_cart_never_ends():
    env = cart_pole()
    env.reset(seed=0)
    assert not any(env.step(1)[2] for _ in range(100))
    assert set(MAKE) == {"cart-pole", "half-cheetah"}
