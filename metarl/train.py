"""The training loop: collect, update, log, checkpoint; stops cleanly on a signal or a non-finite number."""

from __future__ import annotations

import math
import signal
import sys
import time
from contextlib import suppress
from types import FrameType

from metarl.run import Run


class NonFiniteError(ArithmeticError):
    """Training met a number that is not finite. The message says at which iteration and what is kept."""


class StopSignals:
    """Within this context SIGINT and SIGTERM set `received` instead of ending the process. A second one ends it."""

    received: int | None = None

    def __enter__(self) -> StopSignals:
        self.previous = {s: signal.signal(s, self._handle) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        for s, handler in self.previous.items():
            signal.signal(s, handler)
        print("\nStopping after this iteration; once more to stop at once.", file=sys.stderr, flush=True)

    def __exit__(self, *exc: object) -> None:
        for s, handler in self.previous.items():
            signal.signal(s, handler)


def train_iteration(run: Run) -> dict[str, float]:
    """One meta-iteration. Returns its metrics; `return_k` is the mean return of what `collect` returned as entry k.

    Raises:
        NonFiniteError: when a return, a metric or a parameter is not finite. Call this within `Run.undone_on_error`.
    """
    config, algorithm = run.config, run.algorithm
    start = time.perf_counter()
    task = run.env.sample_tasks(config.meta_batch_size, run.generator)
    trajectories = algorithm.collect(run.env, task, config.num_envs, run.generator)
    sampled = time.perf_counter()
    returns = {f"return_{k}": float(t.returns.mean()) for k, t in enumerate(trajectories)}
    _check_finite(run, returns)
    update = algorithm.update(trajectories)
    _check_finite(run, {**update, "parameter": float(algorithm.params.sum())})
    end = time.perf_counter()
    run.iteration += 1
    run.env_steps += sum(t.reward.numel() for t in trajectories)
    run.seconds += end - start
    return {
        "iteration": run.iteration,
        **returns,
        **update,
        **run.env.metrics(),
        "env_steps": run.env_steps,
        "seconds": run.seconds,
        "sampling_seconds": sampled - start,
        "optimization_seconds": end - sampled,
    }


def _check_finite(run: Run, values: dict[str, float]) -> None:
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise NonFiniteError(
            f"Iteration {run.iteration + 1} met numbers that are not finite ({', '.join(bad)}); {run.path} keeps the "
            f"state after iteration {run.iteration}; a new run with a smaller step size may get further."
        )


def train(run: Run, quiet: bool = False) -> int | None:
    """Train until the configured number of iterations. The run's folder must exist (`Run.create` or `Run.open`).

    Returns:
        None when it finished, else the number of the signal that stopped it after it saved.

    Raises:
        NonFiniteError: after saving the state before the iteration. So does any other error.
    """
    total = run.config.num_iterations
    if run.iteration >= total:
        return None
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from torch.utils.tensorboard import SummaryWriter

    run.trim_metrics()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        StopSignals() as stop,
        SummaryWriter(str(run.path), purge_step=run.iteration + 1) as writer,
        Progress(*columns, disable=quiet or not sys.stdout.isatty()) as progress,
    ):
        bar = progress.add_task("meta-training", total=total, completed=run.iteration)
        report = time.monotonic()
        try:
            while run.iteration < total and stop.received is None:
                with run.undone_on_error():
                    metrics = train_iteration(run)
                    run.log(metrics)
                for name, value in metrics.items():
                    writer.add_scalar(name, value, run.iteration)
                if run.iteration % run.config.checkpoint_every == 0:
                    run.save()
                progress.update(bar, completed=run.iteration, description=_summary(run, metrics))
                if not quiet and not sys.stdout.isatty() and time.monotonic() - report > 10:
                    report = time.monotonic()
                    left = (total - run.iteration) * run.seconds / run.iteration
                    print(f"{run.iteration}/{total}  {_summary(run, metrics)}  {left:.0f} s left", flush=True)
        except BaseException:
            with suppress(OSError):  # the first error is the one to tell
                run.save()
            raise
        run.save()
    return stop.received


def _summary(run: Run, metrics: dict[str, float]) -> str:
    stages = [f"{v:.2f}" for k, v in metrics.items() if k.startswith("return_")]
    returns = " → ".join(stages if len(stages) <= 4 else [stages[0], "…", stages[-1]])
    return f"return {returns}  {run.iteration / run.seconds:.2f} it/s"
