"""Memories that read a weighted average; test_cell.py holds them, too."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from memories import far_slots, make, trial


@pytest.mark.parametrize("form", ["full", "ring", "linear"])
@torch.no_grad()
def test_uniform_attention_is_a_mean_and_the_evidence_a_count(form):
    memory, (query, entries) = make(form, classes=1, slots=1, uniform=True, capacity=3), trial(8, classes=1)
    entries = dataclasses.replace(entries, valid=torch.tensor([1.0, 0, 1, 1, 0, 1, 0, 1]).double().expand(2, 8))
    readout, evidence = far_slots(memory).sequence(query, entries)
    slot = memory.slot_weight.exp().squeeze(-1)
    for t in (1, 2, 7):
        seen = slice(t - 3 if form == "ring" and t > 3 else 0, t)
        valid = entries.valid[:, seen, None, None]
        count = valid.sum(1)
        torch.testing.assert_close(readout[:, t, 0], (entries.value[:, seen] * valid).sum(1) / count)
        torch.testing.assert_close(evidence[:, t, 0], ((count.squeeze(-1) + slot) / slot).log())
