"""How `metarl benchmark` measures."""

from __future__ import annotations

import pytest

from metarl.cli.benchmark import measures


@pytest.mark.parametrize("form", ["delta", "full", "none", "rl2"])
def test_a_memory_of_constant_size_stays_as_large_in_longer_trials(form):
    short, long = (
        measures.memory(measures.TrainSession(device="cpu", num_threads=1), 1, form, pulls, count=2 * pulls)
        for pulls in (3, 9)
    )
    assert short["bytes_per_lane"] > 0 and short["training_steps_per_second"] > 0
    assert (long["bytes_per_lane"] > short["bytes_per_lane"]) == (form == "full")
