"""`metarl benchmark --against jax`: our RL² and MetaNet beside an RL² in JAX, in alternation."""

from __future__ import annotations

import functools
import importlib.util
import multiprocessing
import statistics
from collections.abc import Callable
from typing import Any

from torch import Generator

from envs.core import Env
from envs.errors import require
from metarl.algorithms.base import Algorithm
from metarl.cli.benchmark.measures import memory_setup, timed
from metarl.cli.session import TrainSession
from metarl.training.config import make_algorithm

FORMS = {"rl2": "RL², ours", "delta": "MetaNet, ours"}
LANES, PULLS = 256, 100
WARM = 2
"""Meta-iterations that do not count."""


def check_peer() -> None:
    """Raise `InputError` where JAX cannot be imported."""
    found = importlib.util.find_spec("jax") is not None
    require(found, "--against jax compares with JAX, which is not installed here: pip install jax.")


def compare(session: TrainSession, repeats: int) -> list[dict[str, Any]]:
    """Medians of acting and of a whole meta-iteration, 25,600 steps on bandits, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    works: dict[str, tuple[Callable[..., tuple[float, float]], tuple[Any, ...]]] = {
        label: (own_iteration, (session, form)) for form, label in FORMS.items()
    }
    works["RL², JAX"] = (peer_iteration, ())
    pools = {label: context.Pool(1) for label in works}
    seconds: dict[str, list[tuple[float, float]]] = {label: [] for label in works}
    try:
        for _ in range(repeats + WARM):
            for label, (function, arguments) in works.items():
                seconds[label].append(pools[label].apply(function, arguments))
    finally:
        for pool in pools.values():
            pool.terminate()
    return [figures(label, rows[WARM:]) for label, rows in seconds.items()]


def figures(label: str, rows: list[tuple[float, float]]) -> dict[str, Any]:
    acting, learning = (statistics.median(column) for column in zip(*rows, strict=True))
    rates = {"sampling_steps_per_second": LANES * PULLS / acting, "training_steps_per_second": LANES * PULLS / learning}
    return {"name": label, "sampling_seconds": acting, "total_seconds": acting + learning, **rates}


@functools.cache
def _learner(session: TrainSession, form: str) -> tuple[Algorithm, Env, Generator]:
    config, env, generator = memory_setup(session, form, PULLS, LANES * PULLS)
    algorithm = make_algorithm(config, env, generator)
    session.speed_up(algorithm, env)
    return algorithm, env, generator


def own_iteration(session: TrainSession, form: str) -> tuple[float, float]:
    """Seconds of acting and of learning in the next meta-iteration of this process."""
    algorithm, env, generator = _learner(session, form)
    task = env.sample_tasks(LANES, generator)
    acting, trials = timed(algorithm.collect, env, task, 1, generator)
    return acting, timed(algorithm.update, trials)[0]


def peer_iteration() -> tuple[float, float]:
    from metarl.cli.benchmark import jax_peer  # where JAX is installed

    return jax_peer.iteration()
