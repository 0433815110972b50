"""Softmax memories: attention by hand, the ring, and sharp attention in float32."""

from __future__ import annotations

import dataclasses

import torch
from memories import far_slots, make, trial

from metarl.policies.memory import MEMORIES, Entries, MemoryShape
from metarl.policies.memory.softmax import MOST_SHARP


@torch.no_grad()
def test_full_memory_is_a_softmax_of_cosines():
    memory, (query, entries) = far_slots(make("full", classes=1)), trial(6, classes=1)
    entries = dataclasses.replace(entries, valid=torch.ones_like(entries.valid))
    readout, _ = memory.sequence(query, entries)
    cosine = torch.cosine_similarity(query[:, 5:, :, :], entries.key[:, :5], dim=-1)  # [B, 5, H]
    share = torch.softmax(cosine * MOST_SHARP * memory.sharpness.sigmoid(), 1)
    torch.testing.assert_close(readout[:, 5, 0], (share.unsqueeze(-1) * entries.value[:, :5]).sum(1))


@torch.no_grad()
def test_a_ring_forgets_what_a_full_memory_keeps():
    (query, entries), changed = trial(9), {}
    entries = dataclasses.replace(entries, valid=torch.ones_like(entries.valid))
    key = entries.key.clone()
    key[:, 2] += 1
    for form in ("full", "ring"):
        memory = make(form, capacity=3 if form == "ring" else 9)
        a, b = (memory.sequence(query, e) for e in (entries, dataclasses.replace(entries, key=key)))
        changed[form] = (a[1] - b[1]).abs().amax((0, 2, 3)) > 1e-9
    assert changed["ring"].tolist() == [False] * 3 + [True] * 3 + [False] * 3
    assert changed["full"].tolist() == [False] * 3 + [True] * 6


@torch.no_grad()
def test_the_sharpest_attention_stays_finite_in_float32():
    """Queries and slots that point to opposite sides, a thousand entries that all agree with the query."""
    memory = MEMORIES["full"](MemoryShape(1, 2, 1, num_slots=1))
    memory.sharpness.fill_(1e6)
    memory.slot_key.copy_(torch.tensor([-1.0, 0.0]))
    query = torch.tensor([1.0, 0.0]).expand(1, 1000, 1, 2)
    ones = torch.ones(1, 1000)
    readout, evidence = memory.sequence(
        query, Entries(query, torch.ones(1, 1000, 1, 1), query[..., :0], ones.long(), ones)
    )
    assert evidence.isfinite().all()
    torch.testing.assert_close(readout[0, 1:, 0, 0, 0], torch.ones(999))
