"""Memories in float64, and trials of random steps for them."""

from __future__ import annotations

import torch

from metarl.policies.memory import MEMORIES, Entries, MemoryShape


def make(form, shape=(2, 3, 2), classes=2, slots=2, capacity=50, uniform=False, seed=0):
    """A memory in float64 whose parameters are not the first ones."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        memory = MEMORIES[form](MemoryShape(*shape, classes, slots, capacity, uniform)).double()
        for parameter in memory.parameters():
            parameter.data += 0.5 * torch.randn_like(parameter)
    return memory


def trial(steps, shape=(2, 3, 2), classes=2, lanes=2, seed=0):
    """Queries and entries of random steps, one in four of which did not happen."""
    heads, key_size, value_size = shape
    g = torch.Generator().manual_seed(seed)
    key, query = torch.randn(2, lanes, steps, heads, key_size, generator=g, dtype=torch.float64)
    value = torch.randn(lanes, steps, heads, value_size, generator=g, dtype=torch.float64)
    gate = torch.randn(lanes, steps, heads, 2, generator=g, dtype=torch.float64) - torch.tensor([3.0, -7.0])
    kind = torch.randint(classes, (lanes, steps), generator=g)
    valid = (torch.rand(lanes, steps, generator=g) > 0.25).double()
    return query, Entries(key, value, gate, kind, valid)


def far_slots(memory):
    """Slots that count for almost nothing."""
    memory.slot_weight.data.fill_(-60.0)
    return memory
