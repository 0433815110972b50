"""The delta rule (Schlag et al. 2021): an entry replaces what its key reads so far.

The readout is that of the slots plus φ(query) · state, without the denominator.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from metarl.policies.memory.cell import Entries
from metarl.policies.memory.linear import LinearMemory


class DeltaMemory(LinearMemory):
    """The state of a `LinearMemory`, to which an entry adds β (value - what its key reads)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.write_strength = nn.Parameter(torch.zeros(self.shape[0]))

    def features(self, x: Tensor) -> Tensor:
        return functional.normalize(functional.softplus(x), dim=-1)

    def _error(self, state: Tensor, entries: Entries) -> Tensor:
        """Values minus what their keys read of their class in `state`, [B, T, H, V]."""
        own = torch.take_along_dim(state, entries.kind[:, :, None, None, None], 1)  # [B, T, H, K, V + 1]
        return entries.value - torch.einsum("bthk,bthkv->bthv", entries.key, own[..., :-1])

    def written(self, state: Tensor, entries: Entries) -> Tensor:
        return self.write_strength.sigmoid().unsqueeze(-1) * self._error(state, entries)

    def chunk_written(self, state: Tensor, chunk: Entries) -> Entries:
        """Each value minus what its key read of its class just before.

        With G the products of keys of the same class, (I + β tril(G, -1)) u = β (v - state's readout): Yang et al.
        2024, Parallelizing Linear Transformers with the Delta Rule over Sequence Length, section 3.
        """
        strength = self.write_strength.sigmoid()[:, None] * chunk.valid[:, None]  # [B, H, T]
        target = strength.unsqueeze(-1) * self._error(state, chunk).transpose(1, 2)  # [B, H, T, V]
        same = (chunk.kind.unsqueeze(1) == chunk.kind.unsqueeze(2)).unsqueeze(1)
        gram = strength.unsqueeze(-1) * self.causal_weights(chunk.key, chunk.key) * same
        value = torch.linalg.solve_triangular(gram, target, upper=False, unitriangular=True).transpose(1, 2)
        return dataclasses.replace(chunk, value=value)

    def readout(self, values: Tensor, total: Tensor, slot_values: Tensor, slots: Tensor) -> Tensor:
        return slot_values / slots.unsqueeze(-1) + values
