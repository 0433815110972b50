"""Products by oneDNN equal PyTorch's, with their derivatives, and stand aside for another number format."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from metarl.backend import products


def operands(rows: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (rows, 160), (96, 128), (96,)
    x, weight, bias = (torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes)
    return x[:, 32:], weight, bias  # rows with gaps between them


@pytest.mark.parametrize("rows", [1, 128, 2000])
def test_equals_the_product_in_double_precision(rows: int) -> None:
    x, weight, bias = operands(rows)
    expected = functional.linear(x.double(), weight.double(), bias.double())
    with torch.no_grad():
        assert torch.allclose(products.linear(x, weight, bias).double(), expected, atol=1e-4)
        assert torch.allclose(products.linear(x, weight).double(), expected - bias, atol=1e-4)
        gaps = torch.stack([bias, -bias], 1)[:, 0]
        assert torch.allclose(products.linear(x, weight, gaps).double(), expected, atol=1e-4)


def test_other_numbers_are_pytorchs() -> None:
    x, weight, bias = operands(2000, torch.float64)
    with torch.no_grad():
        assert torch.equal(products.linear(x, weight, bias), functional.linear(x, weight, bias))


@pytest.mark.parametrize("rows", [100, 2000])
@pytest.mark.parametrize("gaps", [False, True])
def test_first_and_second_derivatives(rows: int, gaps: bool) -> None:
    """Of large products and small ones, and of a weight that is part of another."""
    found = []
    for product, dtype in ((products.linear, torch.float32), (functional.linear, torch.float64)):
        x, weight, bias = (tensor.to(dtype).requires_grad_() for tensor in operands(rows))
        used = (torch.cat([weight, weight], -1)[:, :128] if gaps else weight), bias
        y = product(x.view(2, rows // 2, -1) if not gaps else x, *used)
        first = torch.autograd.grad((y / 30).sin().sum(), [x, weight, bias], create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), [x, weight, bias])
        found.append([*first, *second])
    for one, exact in zip(*found, strict=True):
        assert torch.allclose(one.double(), exact, atol=1e-4 * float(exact.detach().abs().max()))


def test_a_bias_alone_gets_its_gradient() -> None:
    x, weight, bias = operands(2000)
    products.linear(x, weight, bias.requires_grad_()).sum().backward()
    assert bias.grad is not None and torch.equal(bias.grad, torch.full_like(bias, 2000.0))


@pytest.mark.parametrize("wide", [128, 2000])
@pytest.mark.parametrize("turned", [False, True])
def test_products_of_each_task(wide: int, turned: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b, c = (torch.randn(shape, generator=generator) for shape in ((3, 64, 64), (3, 64, wide), (3, 64, wide)))
    a = a.mT if turned else a
    assert torch.allclose(products.bmm(a, b).double(), a.double() @ b.double(), atol=1e-4)
    assert torch.allclose(products.bmm(b, c.mT).double(), b.double() @ c.double().mT, atol=1e-3)
