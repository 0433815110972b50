"""Finding: is the learned start better than the one that training began with?"""

from __future__ import annotations

from torch import Generator, Tensor

from metarl.algorithms.base import Algorithm
from metarl.diagnosis.findings import Finding, Interval, does_not_apply
from metarl.diagnosis.probe import Probe
from metarl.training.config import make_algorithm

NAME = "meta-training"


def not_comparable(probe: Probe) -> Finding | None:
    """Why no untrained start can be compared with, or None."""
    if probe.run.iteration == 0:
        return does_not_apply(NAME, "No meta-iteration has been done.")
    own, start = probe.run.algorithm.inner, fresh(probe).inner
    given = own is not None and start is not None and type(own.policy) is not type(start.policy)
    if given or probe.run.config.init_sb3 is not None:
        return does_not_apply(NAME, "The run did not start from random parameters, but from a model that it was given.")
    return None


def fresh(probe: Probe) -> Algorithm:
    """The run's method as it was before its first meta-iteration: the same network, the same inner steps."""
    run = probe.run
    return make_algorithm(run.config, run.env, Generator(run.device).manual_seed(run.config.seed))


def judge_start(learned: Tensor, untrained: Tensor, at: int, stage: str, probe: Probe) -> Finding:
    """Does the learned start earn more than the untrained one?

    Args:
        learned, untrained: return of each task in each stage [K, N], with the same random numbers.
        at: index of the stage that is judged.
        stage: what it is called, such as "after 1 gradient step".
    """
    longer = f"--num-iterations {2 * probe.run.config.num_iterations}"
    gains = [Interval.of_change(a, b) for a, b in zip(learned, untrained, strict=True)]
    numbers = {"untrained": [Interval.of(row) for row in untrained], "gain over it": gains}
    gain = gains[at]
    said = f"the learned start earns {gain} more than an untrained one {stage}"
    if gain.positive:
        return Finding(NAME, "ok", f"Meta-training pays: {said}.", numbers)
    if gain.promising:
        more = f"metarl diagnose --num-tasks {4 * probe.num_tasks}"
        return Finding(
            NAME, "note", f"Meta-training may pay, but too few tasks were played to tell: {said}.", numbers, more
        )
    return Finding(
        NAME, "problem", f"Meta-training has not paid: {said}.", numbers, f"the other problems first; then {longer}"
    )
