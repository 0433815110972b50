"""Several processes on one meta-batch (`torchrun`): reductions and agreements, all through torch.distributed.

Each process holds some of the tasks and the same parameters. Every decision is based on reduced numbers, so that all
processes decide alike. In a single process everything here is the identity, and there is no process group.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from metarl.backend.errors import ParallelError

TIMEOUT = timedelta(minutes=10)
"""A process that does not answer for this long counts as lost. One that dies is noticed at once."""

P = ParamSpec("P")
T = TypeVar("T")

_store: Any = None  # of the running session


def launched() -> int:
    """Processes that the launcher started for this job; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def local_rank() -> int:
    """Number of this process among those of this machine."""
    return int(os.environ.get("LOCAL_RANK", "0")) if launched() > 1 else 0


def local_world_size() -> int:
    """Processes of the job on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if launched() > 1 else 1


def world_size() -> int:
    """Processes that share the work; 1 outside of a session."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0 on."""
    return dist.get_rank() if world_size() > 1 else 0


def is_main() -> bool:
    """Is this the process that prints, logs and saves?"""
    return rank() == 0


@contextmanager
def session() -> Iterator[None]:
    """Within this context the processes that torchrun started work together; standard output is the main one's alone.

    Tensors on the CPU are sent by gloo, those on CUDA devices by nccl.

    Raises:
        ParallelError: when the others cannot be reached.
    """
    if launched() == 1:
        yield
        return
    global _store
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with _lost("The processes did not find each other; check the address and port that torchrun was given"):
        _store, own, size = next(dist.rendezvous("env://", timeout=TIMEOUT))
        dist.init_process_group(backend, store=_store, rank=own, world_size=size, timeout=TIMEOUT)
    with open(os.devnull, "w") as nowhere, nullcontext() if is_main() else redirect_stdout(nowhere):
        yield
    dist.destroy_process_group()  # not after an error, when the others may be waiting in vain


@contextmanager
def quiet_unless_main() -> Iterator[None]:
    """Within this context what all processes would write to standard error is written once."""
    with open(os.devnull, "w") as nowhere, nullcontext() if is_main() else redirect_stderr(nowhere):
        yield


def first_to_tell() -> bool:
    """True for the first process of the job that asks, so that an error in all of them is reported once."""
    if world_size() == 1:
        return True
    try:
        return _store.add("metarl/told", 1) == 1
    except RuntimeError:  # the launcher is gone
        return True


@contextmanager
def _lost(what: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:  # gloo, nccl and the store have no class of their own for it
        raise ParallelError(f"{what}.") from error


def main_only(function: Callable[P, None]) -> Callable[P, None]:
    """The function, without effect in all processes but the main one."""

    @functools.wraps(function)
    def on_main(*args: P.args, **kwargs: P.kwargs) -> None:
        if is_main():
            function(*args, **kwargs)

    return on_main


# --- Numbers ---------------------------------------------------------------------------------------------------------


def all_sum(x: Tensor) -> Tensor:
    """The sum of a tensor over all processes, bitwise equal in each. It carries no gradient.

    Raises `ParallelError` when a process is lost.
    """
    if world_size() == 1:
        return x
    total = x.detach().clone(memory_format=torch.contiguous_format)
    with _lost("A worker was lost"):
        dist.all_reduce(total)
    return total


def all_mean(x: Tensor) -> Tensor:
    """The mean over all processes, each of which has the same number of tasks."""
    return all_sum(x) / world_size()


def gather(*numbers: float) -> list[list[float]]:
    """The numbers of each process, in the order of their ranks."""
    rows = torch.zeros(world_size(), len(numbers), dtype=torch.float64)
    rows[rank()] = torch.tensor(numbers, dtype=torch.float64)
    return all_sum(rows).tolist()


def gather_objects(x: T) -> list[T]:
    """The object of each process, in the order of their ranks. Raises `ParallelError`."""
    if world_size() == 1:
        return [x]
    found: list[Any] = [None] * world_size()
    with _lost("A worker was lost"):
        dist.all_gather_object(found, x)
    return found


def from_main(data: bytes) -> bytes:
    """The main process's data, in all processes. Raises `ParallelError`."""
    if world_size() == 1:
        return data
    box = [data]
    with _lost("A worker was lost"):
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def count(rows: Tensor) -> int:
    """Rows [M, ...] in all processes together."""
    return len(rows) if world_size() == 1 else int(sum(n for (n,) in gather(len(rows))))


def mean(rows: Tensor) -> Tensor:
    """Mean over the rows [M, ...] of all processes, which may hold different numbers of them."""
    if world_size() == 1:
        return rows.mean(0)
    return all_sum(rows.sum(0)) / count(rows)


def var(rows: Tensor, correction: int = 1) -> Tensor:
    """Their variance."""
    if world_size() == 1:
        return rows.var(0, correction=correction)
    return all_sum((rows - mean(rows)).square().sum(0)) / (count(rows) - correction)


def std(rows: Tensor, correction: int = 1) -> Tensor:
    """Their standard deviation."""
    return rows.std(0, correction=correction) if world_size() == 1 else var(rows, correction).sqrt()


def moments(rows: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Number, mean and variance (without correction) of the rows [M, ...] of all processes where `mask` [M] is 1.

    No shape depends on the data, so that the host need not wait for a device. Other rows may hold anything.
    """
    valid = (mask > 0).view(-1, *[1] * (rows.dim() - 1))
    number = all_sum(mask.sum())
    mean = all_sum(torch.where(valid, rows, 0.0).sum(0)) / number
    return number, mean, all_sum(torch.where(valid, rows - mean, 0.0).square().sum(0)) / number


def all_sum_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by its sum over all processes, in one message."""
    if world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    total = all_sum(torch.cat([g.flatten() for g in gradients]))
    for gradient, part in zip(gradients, total.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
