"""Groups of tasks on several threads: each thread computes groups of its own, one operation after another.

Threads that share every operation wait for each other after each, and can use only products that MKL divides among
them. Groups of tasks are independent, so a thread with a group waits once, at the end.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Group = TypeVar("Group")
Result = TypeVar("Result")


def each_group(function: Callable[[Group], Result], groups: Sequence[Group], device: torch.device) -> list[Result]:
    """`function` of each group, on the CPU by as many threads as PyTorch has. It must draw no random numbers."""
    threads = min(torch.get_num_threads(), len(groups))
    if threads == 1 or device.type != "cpu":
        return [function(group) for group in groups]
    with_grad = torch.is_grad_enabled()  # each thread has its own mode

    def work(group: Group) -> Result:
        with torch.set_grad_enabled(with_grad):
            return function(group)

    return list(_pool(threads, torch.get_num_threads(), os.getpid()).map(work, groups))


@functools.cache
def _pool(threads: int, team: int, process: int) -> ThreadPoolExecutor:
    """So many threads that compute alone, in this process, where others compute on `team` of them."""
    ready = threading.Barrier(threads + 1)

    def begin() -> None:
        torch.set_num_threads(1)  # of this thread, and of those that start later
        torch.get_num_threads()  # which a new thread takes over here at the latest
        ready.wait()

    pool = ThreadPoolExecutor(threads, initializer=begin)
    for _ in range(threads):
        pool.submit(int)
    ready.wait()
    torch.set_num_threads(team)
    return pool
