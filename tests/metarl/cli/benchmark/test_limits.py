"""What `metarl benchmark` holds against the limits of the machine."""

from __future__ import annotations

import torch

from metarl.backend import products
from metarl.cli.benchmark import limits


def test_work_is_counted_by_hand():
    a, b, c = torch.ones(3, 5), torch.ones(5, 7), torch.ones(2, 3, 7)
    assert limits.count(lambda: a @ b) == limits.Work(2 * 3 * 5 * 7, 4 * (15 + 35 + 21))
    batch = a.expand(2, 3, 5).clone(), b.expand(2, 5, 7).clone()
    found = limits.count(lambda: c.baddbmm_(*batch))  # reads and writes the first
    assert found == limits.Work(2 * 2 * 3 * 5 * 7, 4 * (42 + 30 + 70 + 42))
    assert limits.count(lambda: a.T.reshape(15).view(3, 5)[1:]) == limits.Work(0, 4 * 30)  # one copy, and views


@torch.no_grad()
def test_products_of_onednn_count_as_others():
    a, b = torch.ones(2, 64, 128), torch.ones(2, 128, 256)
    assert limits.count(lambda: products.bmm(a, b)).flops == limits.count(lambda: torch.bmm(a, b)).flops


def test_work_of_derivatives_counts():
    weight, x = torch.ones(5, 7, requires_grad=True), torch.ones(3, 5, requires_grad=True)
    forward = limits.count(lambda: (x @ weight).sum())
    both = limits.count(lambda: torch.autograd.grad((x @ weight).sum(), [weight, x]))
    assert both.flops == 3 * forward.flops and both.bytes > 2 * forward.bytes


def test_a_machine_does_something():
    found = limits.limits("cpu", size=64, length=2**12)
    assert 1e6 < found.flops < 1e15 and 1e6 < found.bytes < 1e15
