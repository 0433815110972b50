"""Memories whose size does not grow."""

from __future__ import annotations

import pytest
import torch
from memories import make, trial


@pytest.mark.parametrize(
    ("form", "sizes"), [("full", [0, 4, 9]), ("ring", [0, 3, 3]), ("linear", None), ("delta", None)]
)
@torch.no_grad()
def test_constant_memories_stay_as_large_as_they_were(form, sizes):
    memory, (_, entries) = make(form, capacity=3 if form == "ring" else 20), trial(9)
    states = [memory.start(2)]
    for t in range(9):
        states.append(memory.write(states[-1], entries[:, t : t + 1]))
    if form == "linear":
        assert {state.shape for state in states} == {(2, 2, 2, 3, 3)}
        assert not torch.equal(states[4], states[9])
    elif form == "delta":
        assert {state.weights.shape for state in states} == {(2, 2, 2, 3, 2)}
        assert {state.counts.shape for state in states} == {(2, 2, 2, 3, 3)}
        assert not torch.equal(states[4].weights, states[9].weights)
    else:
        assert [states[t].key.shape[1] for t in (0, 4, 9)] == sizes


@torch.no_grad()
def test_keys_of_different_states_point_in_different_directions_at_first():
    """Raw keys that differ by a tenth around a common offset: before, their features had a cosine of 0.999."""
    memory = make("linear")
    raw = 0.3 + 0.1 * torch.randn(10, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features = memory.features(raw)
    cosine = features @ features.T
    assert cosine[~torch.eye(10, dtype=torch.bool)].max() < 0.9
    assert torch.linalg.matrix_rank(features, rtol=0.05) >= 8
