"""Memories of a trial by name. Each memory is a class in its own file and a line here."""

from metarl.policies.memory.cell import Entries, Memory, MemoryShape
from metarl.policies.memory.delta import DeltaMemory, GatedDeltaMemory
from metarl.policies.memory.linear import LinearMemory
from metarl.policies.memory.softmax import RingMemory, SoftmaxMemory

MEMORIES: dict[str, type[Memory]] = {
    "full": SoftmaxMemory,
    "ring": RingMemory,
    "linear": LinearMemory,
    "delta": DeltaMemory,
    "gated-delta": GatedDeltaMemory,
}

__all__ = [
    "MEMORIES",
    "DeltaMemory",
    "Entries",
    "GatedDeltaMemory",
    "LinearMemory",
    "Memory",
    "MemoryShape",
    "RingMemory",
    "SoftmaxMemory",
]
