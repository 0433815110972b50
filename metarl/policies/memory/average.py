"""Memories that read a weighted average of entries.

A step reads the entries of the steps before it. With weights w[t, i] >= 0 of entry i at step t, and learned slots m
that are added to the entries of every trial,

    readout[t]  = (Σ_m w[t, m] v[m] + Σ_{i < t} w[t, i] v[i]) / (Σ_m w[t, m] + Σ_{i < t} w[t, i])
    evidence[t] = log of that denominator over Σ_m w[t, m]

The slots define the readout before anything is written. The evidence counts entries, which an average alone cannot.
A subclass defines the weights and how entries are stored.

Letters: B trials, T steps, H heads, C classes, K size of a key, V size of a value.
"""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from metarl.policies.memory.cell import Entries, Memory, MemoryShape


class AverageMemory(Memory):
    """A subclass defines `features`, `start`, `write_features` and `sums`, and also `sequence_sums` if whole trials can
    be computed faster than step by step.
    """

    def __init__(self, shape: MemoryShape) -> None:
        super().__init__(shape)
        s = shape
        self.slot_key = nn.Parameter(torch.randn(s.num_heads, s.num_slots, s.key_size))
        self.slot_value = nn.Parameter(0.1 * torch.randn(s.num_heads, s.num_slots, s.value_size))
        self.slot_weight = nn.Parameter(torch.zeros(s.num_heads, s.num_slots))

    # --- What a memory is ----------------------------------------------------------------------------------------

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Raw keys or queries [..., H, K] -> features whose product decides a weight."""

    def weight(self, product: Tensor, heads_axis: int) -> Tensor:
        """Products of features -> weights; `heads_axis` is that of the heads."""
        return product

    @abstractmethod
    def write_features(self, state: Any, entry: Entries) -> Any:
        """Add one entry a lane: `entry` has T = 1 and holds key features."""

    @abstractmethod
    def sums(self, state: Any, query: Tensor) -> Tensor:
        """Weighted sums over entries of values with an appended 1: query features [B, H, K] -> [B, C, H, V + 1]."""

    def sequence_sums(self, query: Tensor, entries: Entries) -> Tensor:
        """The same for each step of whole trials, over the entries before it: [B, T, H, K] -> [B, T, C, H, V + 1]."""
        state, columns = self.start(len(query)), []
        for t in range(query.shape[1]):
            columns.append(self.sums(state, query[:, t]))
            state = self.write_features(state, entries[:, t : t + 1])
        return torch.stack(columns, 1)

    # --- What all of them do ------------------------------------------------------------------------------------

    def write(self, state: Any, entry: Entries) -> Any:
        """Add one entry a lane: `entry` has T = 1 and holds raw keys."""
        return self.write_features(
            state, dataclasses.replace(entry, key=self._features(entry.key), gate=entry.gate[..., :0])
        )

    def read(self, state: Any, query: Tensor) -> tuple[Tensor, Tensor]:
        """Raw queries [B, H, K] -> readout [B, C, H, V] and evidence [B, C, H]."""
        query = self._features(query)
        return self._finish(query, self.sums(state, query))

    def sequence(self, query: Tensor, entries: Entries) -> tuple[Tensor, Tensor]:
        """What each step of a trial reads: raw queries [B, T, H, K] -> readout [B, T, C, H, V], evidence [B, T, C, H].

        Step t reads the entries i < t.
        """
        query, entries = self._features(query), dataclasses.replace(entries, key=self._features(entries.key))
        return self._finish(query, self.sequence_sums(query, entries))

    def attention(self, query: Tensor, entries: Entries) -> Tensor:
        """Attention [B, H, T, T] of each step to each entry: row t sums to 1 minus the attention to the slots.

        All classes are taken together.
        """
        query, key = self._features(query), self._features(entries.key)
        weight = self.causal_weights(query, key) * entries.valid[:, None, None]
        _, slots = self.slots(query)
        return weight / (weight.sum(-1) + slots.transpose(1, 2)).unsqueeze(-1)

    def slots(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Numerator [..., H, V] and denominator [..., H] of the learned slots for query features [..., H, K]."""
        key = self._features(self.slot_key.transpose(0, 1)).transpose(0, 1)
        product = torch.einsum("...hk,hmk->...hm", query, key)
        weight = self.weight(product, product.dim() - 2) * self.slot_weight.exp()
        return torch.einsum("...hm,hmv->...hv", weight, self.slot_value), weight.sum(-1)

    def causal_weights(self, query: Tensor, key: Tensor) -> Tensor:
        """Weights [B, H, T, T] of features [B, T, H, K], 0 where a step cannot read an entry."""
        weight = self.weight(query.transpose(1, 2) @ key.permute(0, 2, 3, 1), 1)
        return weight * self.readable(query.shape[1], query.device)

    def readable(self, num_steps: int, device: torch.device) -> Tensor:
        """May step t read entry i? [T, T] bool."""
        return torch.ones(num_steps, num_steps, dtype=torch.bool, device=device).tril(-1)

    def attend(self, query: Tensor, entries: Entries) -> Tensor:
        """Weighted sums [B, T, C, H, V + 1] over all earlier entries at once, from features."""
        values = self.by_class(entries).transpose(1, 2)  # [B, H, T, C, V + 1]
        sums = self.causal_weights(query, entries.key) @ values.flatten(3)
        return sums.unflatten(3, values.shape[3:]).permute(0, 2, 3, 1, 4)

    def by_class(self, entries: Entries) -> Tensor:
        """Values with an appended 1, in the columns of their class: [B, T, H, C, V + 1]."""
        valid = entries.valid[..., None, None]
        value = torch.cat([entries.value * valid, valid.expand(*entries.value.shape[:3], 1)], -1).unsqueeze(3)
        if self.shape.num_classes == 1:
            return value
        own = entries.kind.unsqueeze(-1) == torch.arange(self.shape.num_classes, device=value.device)
        return own.to(value.dtype)[:, :, None, :, None] * value

    def _features(self, x: Tensor) -> Tensor:
        return torch.ones_like(x) / math.sqrt(x.shape[-1]) if self.shape.uniform else self.features(x)

    def _finish(self, query: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
        """Sums over entries [..., C, H, V + 1] and the slots -> readout and evidence."""
        slot_values, slots = self.slots(query)  # [..., H, V], [..., H]
        slot_values, slots = slot_values.unsqueeze(-3), slots.unsqueeze(-2)
        total = sums[..., -1] + slots
        return (slot_values + sums[..., :-1]) / total.unsqueeze(-1), (total / slots).log()
