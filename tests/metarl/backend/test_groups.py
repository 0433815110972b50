"""Groups of tasks on several threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from metarl.backend.groups import each_group

CPU = torch.device("cpu")


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_keep_their_order_and_the_mode_of_gradients(two_threads: None) -> None:
    with torch.no_grad():
        found = each_group(lambda group: (2 * group, torch.is_grad_enabled()), [1, 2, 3], CPU)
    assert found == [(2, False), (4, False), (6, False)]
    assert all(each_group(lambda _: torch.is_grad_enabled(), [1, 2], CPU))


def test_each_group_is_computed_by_one_thread_of_its_own(two_threads: None) -> None:
    meet = threading.Barrier(2, timeout=60)

    def work(_: int) -> tuple[int, int]:
        meet.wait()  # both run at the same time
        return threading.get_ident(), torch.get_num_threads()

    (a, one), (b, other) = each_group(work, [1, 2], CPU)
    assert a != b and one == other == 1 and torch.get_num_threads() == 2


@pytest.mark.parametrize(("device", "threads"), [("meta", 2), ("cpu", 1)])
def test_elsewhere_the_caller_computes(two_threads: None, device: str, threads: int) -> None:
    torch.set_num_threads(threads)
    found = each_group(lambda _: threading.get_ident(), [1, 2], torch.device(device))
    assert found == [threading.get_ident()] * 2


def test_an_error_reaches_the_caller(two_threads: None) -> None:
    with pytest.raises(ZeroDivisionError):
        each_group(lambda group: 1 / group, [1, 0], CPU)
