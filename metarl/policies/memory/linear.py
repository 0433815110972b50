"""Linear attention: w = φ(query) · φ(key) with φ = softplus (Katharopoulos et al. 2020).

The sums over entries are a state of constant size. Whole trials are computed in chunks of steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from metarl.policies.memory.cell import Entries, Memory

CHUNK = 64
"""Steps that are computed at once."""


class LinearMemory(Memory):
    """State [B, C, H, K, V + 1]: the sum of φ(key) ⊗ (value, 1) over the entries of each class."""

    def features(self, x: Tensor) -> Tensor:
        return functional.softplus(x) / math.sqrt(x.shape[-1])

    def start(self, num_lanes: int) -> Tensor:
        heads, key_size, value_size = self.shape
        return self.slot_key.new_zeros(num_lanes, self.num_classes, heads, key_size, value_size + 1)

    def written(self, state: Tensor, entries: Entries) -> Tensor:
        """The values that entries add under their keys, [B, T, H, V]."""
        return entries.value

    def write_features(self, state: Tensor, entry: Entries) -> Tensor:
        key, valid = entry.key[:, 0], entry.valid[:, :1, None]  # [B, H, K], [B, 1, 1]
        value = self.written(state, entry)[:, 0]  # [B, H, V]
        new = torch.cat([value * valid, valid.expand(*value.shape[:2], 1)], -1)
        outer = (key.unsqueeze(-1) * new.unsqueeze(-2)).unsqueeze(1)  # [B, 1, H, K, V + 1]
        return state.scatter_add(1, entry.kind[:, :1, None, None, None].expand_as(outer), outer)

    def sums(self, state: Tensor, query: Tensor) -> Tensor:
        return torch.einsum("bhk,bchkv->bchv", query, state)

    def sequence_sums(self, query: Tensor, entries: Entries) -> Tensor:
        state, chunks = self.start(len(query)), []
        for start in range(0, query.shape[1], CHUNK):
            q, chunk = query[:, start : start + CHUNK], entries[:, start : start + CHUNK]
            chunk = self.chunk_written(state, chunk)
            chunks.append(self.attend(q, chunk) + torch.einsum("bthk,bchkv->btchv", q, state))
            state = state + torch.einsum("bthk,bthcv->bchkv", chunk.key, self.by_class(chunk))
        return torch.cat(chunks, 1)

    def chunk_written(self, state: Tensor, chunk: Entries) -> Entries:
        """A chunk with the values that it adds step by step, given the state before it."""
        return chunk
