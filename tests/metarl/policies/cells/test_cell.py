"""Cells: step by step and whole trials agree, no step sees a later one, and lanes are independent."""

import pytest
import torch

from metarl.policies.cells import CELLS

STEPS = 11


def make(name, seed=0):
    """A cell whose parameters are far from the first ones, and features [4, 11, 8], in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        cell = CELLS[name](8, STEPS).double()
        for parameter in cell.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
        return cell, torch.randn(4, STEPS, 8).double()


def stepped(cell, x):
    memory, found = cell.start(len(x)), []
    for now in x.unbind(1):
        y, memory = cell.step(now, memory)
        found.append(y)
    return torch.stack(found, 1)


@torch.no_grad()
@pytest.mark.parametrize("name", CELLS)
def test_step_by_step_and_whole_trials_agree(name):
    cell, x = make(name)
    torch.testing.assert_close(stepped(cell, x), cell.sequence(x), rtol=0, atol=1e-10)
    torch.testing.assert_close(stepped(cell.float(), x.float()), cell.sequence(x.float()), rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", CELLS)
def test_no_step_sees_a_later_one_and_lanes_are_independent(name):
    cell, x = make(name)
    other = x.clone()
    other[2, 6] += torch.arange(8)
    moved = (cell.sequence(x) - cell.sequence(other)).abs().amax(-1)
    assert (moved[2, 6:] > 1e-7).all()
    moved[2, 6:] = 0
    assert (moved < 1e-12).all()
    torch.testing.assert_close(cell.sequence(x)[1:2], cell.sequence(x[1:2]))
    torch.testing.assert_close(cell.sequence(x)[:, :4], cell.sequence(x[:, :4]))  # a shorter trial begins like it


@pytest.mark.parametrize("name", [name for name in CELLS if name != "gru"])  # whose step overwrites: test_gru_cpu.py
def test_gradients_of_both_forms_agree(name):
    cell, x = make(name)
    weight = torch.randn_like(x)
    found, expected = (
        torch.autograd.grad((weight * form(x)).sum(), tuple(cell.parameters()))
        for form in (cell.sequence, lambda x: stepped(cell, x))
    )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@torch.no_grad()
@pytest.mark.parametrize("name", CELLS)
def test_a_step_leaves_the_memory_before_it_as_it_was(name):
    """So that one can go on from it twice."""
    cell, x = make(name)
    memory = cell.step(x[:, 0], cell.start(4))[1]
    first = cell.step(x[:, 1], memory)[0]
    cell.step(x[:, 2], memory)
    torch.testing.assert_close(cell.step(x[:, 1], memory)[0], first, rtol=0, atol=0)
