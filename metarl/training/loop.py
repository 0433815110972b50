"""The training loop: collect, update, log, checkpoint; stops cleanly on a signal or a non-finite number."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from types import FrameType
from typing import Any

import numpy as np
import torch

from envs.contract import all_metrics
from envs.errors import EnvironmentFault, InputError
from metarl.backend import distributed
from metarl.backend.cores import Watch, warn_too_late
from metarl.backend.errors import NonFiniteError, ParallelError
from metarl.backend.signals import STOPPING, ignored
from metarl.learning.finite import environment_fault
from metarl.learning.rollout import Trajectory
from metarl.training import commands
from metarl.training.events import event_log
from metarl.training.room import too_large
from metarl.training.run import Run

Evaluate = Callable[[Run], dict[str, float]]
"""Called after each meta-iteration; its figures are logged beside the metrics. See `metarl.evaluation.held_out`."""

Callback = Callable[[Run, dict[str, float]], object]
"""Called with the metrics of each meta-iteration once they are logged. True ends training, as does an error."""


class StopSignals:
    """Within this context SIGINT, SIGTERM and SIGHUP set `received` instead of ending the process. A second does.

    SIGHUP stays ignored where it is, as `nohup` wants it.
    """

    received: int | None = None

    def reached(self) -> bool:
        """Has a process of the job received one? Then `received` holds it in all of them."""
        if distributed.world_size() == 1:
            return self.received is not None
        agreed = max(int(number) for (number,) in distributed.gather(self.received or 0))
        if agreed:  # else one that arrives here and now is kept for the next time, when all hear of it
            self.received = agreed
        return agreed > 0

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is not threading.main_thread():  # only that one can receive signals
            self.previous: dict[int, Any] = {}
            return self
        numbers = [s for s in STOPPING if s in (signal.SIGINT, signal.SIGTERM) or not ignored(s)]
        self.previous = {s: signal.signal(s, self._handle) for s in numbers}
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        for s, handler in self.previous.items():
            signal.signal(s, handler)
        if distributed.is_main():
            with suppress(OSError):  # after SIGHUP the terminal is gone
                print("\nStopping after this iteration; once more to stop at once.", file=sys.stderr, flush=True)

    def __exit__(self, *exc: object) -> None:
        for s, handler in self.previous.items():
            signal.signal(s, handler)


def shard_seed(seed: int, iteration: int, shard: int) -> int:
    """The seed of a shard's episodes in a meta-iteration.

    It follows from these numbers alone, so that a checkpoint need not hold it and any process can take the shard over.
    """
    state = np.random.SeedSequence([seed, iteration, shard]).generate_state(1, np.uint64)
    return int(state[0]) % 2**63


def collect(run: Run) -> list[Trajectory]:
    """Tasks and episodes of a meta-iteration: this process's shards of them, one after another."""
    config, algorithm, shards = run.config, run.algorithm, run.num_shards
    task = run.meta_batch()  # the whole meta-batch, the same everywhere
    if shards == 1:
        return algorithm.collect(run.env, task, config.num_envs, run.generator)
    size, own = config.meta_batch_size // shards, shards // distributed.world_size()
    parts = []
    for shard in range(distributed.rank() * own, (distributed.rank() + 1) * own):
        generator = run.shard_generator.manual_seed(shard_seed(config.seed, run.iteration, shard))
        tasks = task[shard * size : (shard + 1) * size]
        parts.append(algorithm.collect(run.env, tasks, config.num_envs, generator))
    return [type(stage[0]).cat(list(stage)) for stage in zip(*parts, strict=True)]


def train_iteration(run: Run) -> dict[str, float]:
    """One meta-iteration. Returns its metrics; `return_k` is the mean return in stage k of adaptation.

    Raises:
        NonFiniteError: when a return, a metric or a parameter is not finite. Call this within `Run.undone_on_error`.
        ParallelError: when a process that shares the work is lost, or has come to other parameters.
    """
    algorithm = run.algorithm
    start = time.perf_counter()
    trajectories = collect(run)
    stages = [episode for t in trajectories for episode in t.episodes(run.env.horizon)]
    means = distributed.all_mean(torch.stack([stage.returns.mean() for stage in stages])).tolist()
    sampled = time.perf_counter()  # after what waits for the device
    returns = {f"return_{k}": mean for k, mean in enumerate(means)}
    if not all(map(math.isfinite, means)):  # in all processes, of which one knows why
        faults = distributed.gather_objects(environment_fault(run.env, trajectories))
        raise _not_finite(run, returns, next(filter(None, faults), None))
    update, counters = algorithm.update(trajectories), all_metrics(run.env)
    parameter = float(algorithm.params.double().sum())
    if not all(map(math.isfinite, [*update.values(), parameter])):
        raise _not_finite(run, {**update, "parameter": parameter}, environment_fault(run.env, trajectories))
    if distributed.world_size() > 1:
        sums, *counts = zip(*distributed.gather(parameter, *counters.values()), strict=True)
        if len(set(sums)) > 1:
            raise ParallelError(
                "The processes ended with different parameters, as happens on different kinds of processors."
            )
        counters = dict(zip(counters, map(sum, counts), strict=True))
    end = time.perf_counter()
    run.iteration += 1
    run.env_steps += sum(t.num_steps for t in trajectories) * distributed.world_size()
    run.seconds += end - start
    return {
        "iteration": run.iteration,
        **returns,
        **update,
        **counters,
        "env_steps": run.env_steps,
        "seconds": run.seconds,
        "sampling_seconds": sampled - start,
        "optimization_seconds": end - sampled,
    }


def _not_finite(run: Run, values: dict[str, float], fault: str | None) -> NonFiniteError:
    bad = ", ".join(name for name, value in values.items() if not math.isfinite(value))
    return NonFiniteError(
        f"Iteration {run.iteration + 1} met numbers that are not finite ({bad}); {run.path} keeps the state after "
        f"iteration {run.iteration}; {fault or 'a new run with a smaller learning rate may get further'}."
    )


def train(
    run: Run,
    quiet: bool = False,
    held_out: Evaluate | None = None,
    command: str | None = None,
    callback: Callback | None = None,
) -> int | None:
    """Train until the configured number of iterations. The run's folder is made if it is new, and locked meanwhile.

    Args:
        quiet: print no progress.
        held_out: evaluates on the way.
        command: the command line that makes a new run, which its folder keeps.
        callback: told of each meta-iteration, in every process; all of them must answer alike.

    Returns:
        None when it finished or the callback ended it, else the number of the signal that stopped it after it saved.

    Raises:
        InputError: when another process trains the run, or has trained it since it was opened here; when the folder of
            a new run holds one already, or cannot be made.
        NonFiniteError: after saving the state before the iteration. So does any other error.
        ParallelError: in the processes that are left when one was lost. Where the main one is left it saves, too.
    """
    with _new_folder(run, command) if run.is_new else nullcontext():
        if run.iteration >= run.config.num_iterations:
            return None
        warn_too_late()
        with run.locked():
            run.begin()
            run.share()
            return _train(run, quiet, held_out, callback)


@contextmanager
def _new_folder(run: Run, command: str | None) -> Iterator[None]:
    """Makes the folder of a new run. Where training then turns out to be impossible, what it made is removed."""
    before = set(run.path.iterdir()) if run.path.is_dir() else None
    run.create()
    with run.locked():  # what is removed must not be another process's
        try:
            if command is not None:
                commands.add(run.path, command)
            if run.config.init_sb3 is not None or run.config.num_iterations == 0:
                run.save()
            yield
        except Exception as error:
            impossible = isinstance(error, InputError) or too_large(error) is not None
            if impossible and run.iteration == 0 and distributed.is_main():
                with suppress(OSError):
                    for path in set(run.path.iterdir()) - (before or set()):
                        path.unlink()
                    if before is None:
                        run.path.rmdir()
            raise


def _train(run: Run, quiet: bool, held_out: Evaluate | None, callback: Callback | None) -> int | None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    total, main = run.config.num_iterations, distributed.is_main()
    quiet = quiet or not main
    events = event_log(run) if main else nullcontext(lambda metrics: None)
    watch = Watch() if run.device.type == "cpu" and distributed.world_size() == 1 else None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        StopSignals() as stop,
        events as log_event,
        closing(watch.waits) if watch else nullcontext(),
        Progress(*columns, disable=quiet or not sys.stdout.isatty()) as progress,
    ):
        bar = progress.add_task("meta-training", total=total, completed=run.iteration)
        started = report = time.monotonic()
        done_before = run.iteration
        try:
            while run.iteration < total and not stop.reached():
                with run.undone_on_error():
                    metrics = train_iteration(run)
                    if held_out is not None:
                        metrics |= held_out(run)
                    run.log(metrics)
                log_event(metrics)
                if watch and (slow := watch.note(run.iteration, metrics, f"--resume {run.path}")) and not quiet:
                    print(f"\nnote: {slow}", file=sys.stderr, flush=True)
                if run.iteration % run.config.checkpoint_every == 0:
                    run.save()
                progress.update(bar, completed=run.iteration, description=_summary(run, metrics))
                if not quiet and not sys.stdout.isatty() and time.monotonic() - report > 10:
                    report = time.monotonic()
                    left = (total - run.iteration) * (report - started) / (run.iteration - done_before)
                    print(f"{run.iteration}/{total}  {_summary(run, metrics)}  {left:.0f} s left", flush=True)
                if callback is not None and callback(run, metrics) is True:
                    break
        except BaseException as error:
            with suppress(OSError):  # the first error is the one to tell
                run.save()
            if isinstance(error, ParallelError):
                where = f"in iteration {run.iteration + 1}; go on from the last checkpoint by --resume {run.path}."
                raise ParallelError(f"{str(error).removesuffix('.')} {where}") from error
            if isinstance(error, EnvironmentFault):
                where = f"{run.path} keeps the state after iteration {run.iteration}"
                raise EnvironmentFault(f"{str(error).removesuffix('.')}; {where}.") from error
            raise
        run.save()
    return stop.received if run.iteration < total else None  # nothing was left to stop


def _summary(run: Run, metrics: dict[str, float]) -> str:
    stages = [f"{v:.2f}" for k, v in metrics.items() if k.startswith("return_")]
    returns = " → ".join(stages if len(stages) <= 4 else [stages[0], "…", stages[-1]])
    return f"return {returns}  {run.iteration / run.seconds:.2f} it/s"
