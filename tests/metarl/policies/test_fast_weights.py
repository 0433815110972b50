"""Parts of networks with fast weights: what a layer computes with them, keys and queries, a gradient's logarithm."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from metarl.policies.fast_weights import FastLayer, Recall, preprocessed
from metarl.policies.memory import DeltaMemory, MemoryShape


def test_fast_weights_are_added_after_the_nonlinearity_and_a_readout_is_an_input():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fast, readout = (FastLayer(3, 4, 2, name, nn.SiLU()) for name in ("fast", "readout"))
        x, code = torch.randn(5, 3), torch.randn(5, 2)
    slow = functional.silu(x @ fast.slow.weight.T + fast.slow.bias)
    torch.testing.assert_close(fast(x, code), slow + code @ fast.out.weight.T)
    torch.testing.assert_close(readout(x, code), functional.silu(readout.slow(torch.cat([x, code], -1))))


@pytest.mark.parametrize("by_observation", [False, True])
def test_keys_and_queries_come_from_entries_and_the_layer_or_from_observations_alone(by_observation):
    recall = Recall(DeltaMemory(MemoryShape(2, 3, 4)), 8, 5, by_observation)
    embedding, hidden, x = torch.randn(6, 7, 8), torch.randn(6, 7, 8), torch.randn(6, 7, 5)
    kind, valid = torch.zeros(6, 7, dtype=torch.int64), torch.ones(6, 7)
    query, key = recall.queries(x, embedding), recall.entries(embedding, hidden, kind, valid).key
    assert query.shape == key.shape == (6, 7, 2, 3)
    assert torch.equal(recall.queries(x + 1, embedding), query) == by_observation
    assert torch.equal(recall.entries(embedding, hidden + 1, kind, valid).key, key) == by_observation
    other = recall.entries(embedding + 1, hidden, kind, valid)
    assert torch.equal(other.key, key) != by_observation
    torch.testing.assert_close(other.value, recall.code(hidden).unflatten(-1, (2, 4)))


def test_gradients_are_preprocessed_on_a_logarithmic_scale():
    """Andrychowicz et al. 2016, appendix A, with p = 7."""
    log, sign = preprocessed(torch.tensor([-1.0, math.exp(-3.5), 0.0, math.exp(-8.0), -100.0]))
    torch.testing.assert_close(log, torch.tensor([0.0, -0.5, -1.0, -1.0, math.log(100) / 7]))
    torch.testing.assert_close(sign, torch.tensor([-1.0, 1.0, 0.0, math.exp(-1.0), -1.0]))
