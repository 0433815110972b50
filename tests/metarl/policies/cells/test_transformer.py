"""The transformer: attention as it is written down, and sizes that do not fit."""

import pytest
import torch
from torch.nn import functional

from envs import InputError
from metarl.policies.cells import Transformer


@torch.no_grad()
def test_a_layer_attends_to_the_steps_up_to_its_own():
    """Against one loop over heads and steps."""
    torch.manual_seed(0)
    cell, x = Transformer(8, 5, num_layers=1, num_heads=2).double(), torch.randn(3, 5, 8).double()
    for parameter in cell.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    layer, y = cell.layers[0], x + cell.positions
    query, key, value = layer.attend(layer.norm(y)).chunk(3, -1)
    read = torch.zeros_like(y)
    for head in (slice(0, 4), slice(4, 8)):
        for t in range(5):
            score = torch.einsum("bk,btk->bt", query[:, t, head], key[:, : t + 1, head]) / 2
            read[:, t, head] = torch.einsum("bt,btk->bk", score.softmax(-1), value[:, : t + 1, head])
    y = y + layer.joined(read)
    y = y + layer.narrow(functional.gelu(layer.wide(layer.norm_alone(y))))
    torch.testing.assert_close(cell.sequence(x), cell.norm(y))


def test_heads_must_share_the_units(sentence):
    with pytest.raises(InputError) as error:
        Transformer(10, 5)
    assert "hidden_size" in sentence(error)
