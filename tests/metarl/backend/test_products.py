"""Products by oneDNN equal PyTorch's, and stand aside where a gradient or another number format is asked for."""

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


def test_other_numbers_and_gradients() -> None:
    x, weight, bias = operands(2000, torch.float64)
    with torch.no_grad():
        assert torch.equal(products.linear(x, weight, bias), functional.linear(x, weight, bias))
    x, weight, bias = operands(2000)
    weight.requires_grad_()
    products.linear(x, weight, bias).sum().backward()
    assert weight.grad is not None and torch.allclose(weight.grad[0], x.sum(0), atol=1e-3)


@pytest.mark.parametrize("wide", [128, 2000])
@pytest.mark.parametrize("turned", [False, True])
def test_products_of_each_task(wide: int, turned: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b, c = (torch.randn(shape, generator=generator) for shape in ((3, 64, 64), (3, 64, wide), (3, 64, wide)))
    a = a.mT if turned else a
    assert torch.allclose(products.bmm(a, b).double(), a.double() @ b.double(), atol=1e-4)
    assert torch.allclose(products.bmm(b, c.mT).double(), b.double() @ c.double().mT, atol=1e-3)
