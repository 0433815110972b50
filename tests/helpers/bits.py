"""What runs compute as plain numbers, to compare them to the last bit."""

from __future__ import annotations

import json

import torch

from metarl.training.run import Run

TIMINGS = {"seconds", "sampling_seconds", "optimization_seconds"}


def bits(state) -> list:
    """All leaves of a run's state, tensors as lists, but for its training time."""
    if isinstance(state, dict):
        return [bits(value) for key, value in state.items() if key != "seconds"]
    if isinstance(state, list):
        return [bits(value) for value in state]
    return state.tolist() if isinstance(state, torch.Tensor) else state


def metrics(run: Run) -> list[dict]:
    """The lines of metrics.jsonl without what depends on the clock."""
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMINGS} for line in lines]


def same_state(a: Run, b: Run) -> bool:
    return (
        torch.equal(a.algorithm.params, b.algorithm.params)
        and torch.equal(a.generator.get_state(), b.generator.get_state())
        and (a.iteration, a.env_steps, a.seconds) == (b.iteration, b.env_steps, b.seconds)
    )


def changed(run: Run) -> Run:
    """As some training would leave it."""
    run.algorithm.meta = run.algorithm.meta + torch.rand(len(run.algorithm.meta), generator=run.generator)
    run.iteration, run.env_steps, run.seconds = 4, 240, 1.5
    return run
