"""Softmax of the cosine: w = exp(τ cos(query, key)) (Munkhdalai & Yu 2017, eq. 8), over all entries or the latest."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from metarl.policies.memory.average import AverageMemory
from metarl.policies.memory.cell import Entries, MemoryShape

MOST_SHARP = 20.0
"""Bound on τ, which starts at 4: it keeps exp(τ cos) and its sums within float32."""


class SoftmaxMemory(AverageMemory):
    """Keeps every entry of the trial."""

    pairs = True

    def __init__(self, shape: MemoryShape) -> None:
        super().__init__(shape)
        self.sharpness = None if shape.uniform else nn.Parameter(torch.full((shape.num_heads,), -1.4))

    def features(self, x: Tensor) -> Tensor:
        return functional.normalize(x, dim=-1)

    def weight(self, product: Tensor, heads_axis: int) -> Tensor:
        if self.sharpness is None:
            return product
        sharpness = MOST_SHARP * self.sharpness.sigmoid().view(-1, *[1] * (product.dim() - heads_axis - 1))
        return (sharpness * product).exp()

    def start(self, num_lanes: int) -> Entries:
        s, like = self.shape, self.slot_key
        return Entries(
            like.new_zeros(num_lanes, 0, s.num_heads, s.key_size),
            like.new_zeros(num_lanes, 0, s.num_heads, s.value_size),
            like.new_zeros(num_lanes, 0, s.num_heads, self.gates),
            torch.zeros(num_lanes, 0, dtype=torch.int64, device=like.device),
            like.new_zeros(num_lanes, 0),
        )

    def write_features(self, state: Entries, entry: Entries) -> Entries:
        return Entries.cat([state, entry], 1)

    def sums(self, state: Entries, query: Tensor) -> Tensor:
        weight = self.weight(torch.einsum("bhk,bthk->bht", query, state.key), 1)
        return torch.einsum("bht,bthcv->bchv", weight, self.by_class(state))

    def sequence_sums(self, query: Tensor, entries: Entries) -> Tensor:
        return self.attend(query, entries).contiguous()  # laid out for what follows


class RingMemory(SoftmaxMemory):
    """Keeps only the latest `ring_size` entries, including those of padding."""

    def write_features(self, state: Entries, entry: Entries) -> Entries:
        return super().write_features(state, entry)[:, -self.shape.ring_size :]

    def readable(self, num_steps: int, device: torch.device) -> Tensor:
        return super().readable(num_steps, device).triu(-self.shape.ring_size)
