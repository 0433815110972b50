"""Training to its end, and acting in the middle of it."""

from __future__ import annotations

from metarl.training.loop import train
from metarl.training.run import Run


def trained_run(run: Run) -> Run:
    assert train(run, quiet=True) is None
    return run


def on_iteration(run: Run, number: int, act) -> None:
    """Call `act(result)` on the result of the first environment step of an iteration, and use what it returns."""
    step, calls = run.env.step, 0
    start = (number - 1 - run.iteration) * (run.config.algorithm.num_inner_steps + 1) * run.env.horizon

    def wrapped(*args):
        nonlocal calls
        calls += 1
        result = step(*args)
        return act(result) if calls == start + 1 else result

    run.env.step = wrapped
