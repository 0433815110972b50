"""S5's layers: the recurrence against complex numbers, and the scan against a loop."""

import pytest
import torch

from metarl.policies.cells import S5
from metarl.policies.cells.s5 import Layer, product, scan


def as_complex(x):
    return torch.complex(*x.chunk(2, -1))


@torch.no_grad()
def test_a_step_is_the_zero_order_hold_of_the_state_equation():
    torch.manual_seed(0)
    layer, x = Layer(6, 3).double(), torch.randn(4, 6).double()
    a, driven = layer.drive(x)
    rate = torch.complex(-layer.log_decay.exp(), layer.frequency)
    expected = torch.exp(layer.log_step.exp() * rate)
    torch.testing.assert_close(as_complex(a), expected)
    matrix = as_complex(layer.write.weight.T)  # [6, 3]
    u = layer.norm(x).to(matrix.dtype)
    torch.testing.assert_close(as_complex(driven), u @ matrix * (expected - 1) / rate)
    assert (expected.abs() < 1).all()


@pytest.mark.parametrize("steps", [1, 2, 7, 8, 33])
def test_the_scan_is_a_loop_over_steps(steps):
    torch.manual_seed(0)
    a, driven = torch.randn(6).double() / 2, torch.randn(2, steps, 6).double()
    state, found = torch.zeros(2, 6).double(), scan(a, driven)
    for t in range(steps):
        state = product(a, state) + driven[:, t]
        torch.testing.assert_close(found[:, t], state)


@torch.no_grad()
def test_a_long_trial_stays_finite():
    assert S5(8, 3000).sequence(torch.randn(1, 3000, 8)).isfinite().all()
