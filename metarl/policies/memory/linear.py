"""Linear attention: w = φ(query) · φ(key) (Katharopoulos et al. 2020), with φ = softplus, to length 1.

The sums over entries are a state of constant size. Whole trials are computed in chunks of steps.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from metarl.policies.memory.average import AverageMemory
from metarl.policies.memory.cell import Entries

SHARPNESS = 4.0
"""Of softplus: keys of standard deviation 1 then hardly overlap unless they point the same way."""

CHUNK = 64
"""Steps that are computed at once."""


class LinearMemory(AverageMemory):
    """State [B, C, H, K, V + 1]: the sum of φ(key) ⊗ (value, 1) over the entries of each class."""

    def features(self, x: Tensor) -> Tensor:
        x = functional.layer_norm(x, x.shape[-1:])
        return functional.normalize(functional.softplus(SHARPNESS * x), dim=-1)

    def start(self, num_lanes: int) -> Tensor:
        s = self.shape
        return self.slot_key.new_zeros(num_lanes, s.num_classes, s.num_heads, s.key_size, s.value_size + 1)

    def write_features(self, state: Tensor, entry: Entries) -> Tensor:
        key, valid = entry.key[:, 0], entry.valid[:, :1, None]  # [B, H, K], [B, 1, 1]
        value = entry.value[:, 0]  # [B, H, V]
        new = torch.cat([value * valid, valid.expand(*value.shape[:2], 1)], -1)
        outer = (key.unsqueeze(-1) * new.unsqueeze(-2)).unsqueeze(1)  # [B, 1, H, K, V + 1]
        return state.scatter_add(1, entry.kind[:, :1, None, None, None].expand_as(outer), outer)

    def sums(self, state: Tensor, query: Tensor) -> Tensor:
        return torch.einsum("bhk,bchkv->bchv", query, state)

    def sequence_sums(self, query: Tensor, entries: Entries) -> Tensor:
        state, chunks = self.start(len(query)), []
        for start in range(0, query.shape[1], CHUNK):
            q, chunk = query[:, start : start + CHUNK], entries[:, start : start + CHUNK]
            chunks.append(self.attend(q, chunk) + torch.einsum("bthk,bchkv->btchv", q, state))
            state = state + torch.einsum("bthk,bthcv->bchkv", chunk.key, self.by_class(chunk))
        return torch.cat(chunks, 1)
