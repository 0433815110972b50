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
    if sizes is None:
        assert {state.shape for state in states} == {(2, 2, 2, 3, 3)}
        assert not torch.equal(states[4], states[9])
    else:
        assert [states[t].key.shape[1] for t in (0, 4, 9)] == sizes
