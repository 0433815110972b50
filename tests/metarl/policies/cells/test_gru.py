"""The GRU of torch, which starts by turning its state."""

import torch

from metarl.policies.cells import GRU


@torch.no_grad()
def test_it_is_that_of_torch_with_orthogonal_blocks():
    cell, x = GRU(9, 5), torch.randn(3, 5, 9)
    torch.testing.assert_close(cell.sequence(x), cell(x)[0])
    blocks = cell.get_parameter("weight_hh_l0")
    torch.testing.assert_close(blocks.T @ blocks, torch.eye(9), atol=1e-5, rtol=0)
