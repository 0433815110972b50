"""Memories of a trial: entries of (key, value, class) that later steps read by attention, in four forms.

A step reads the entries of the steps before it. With weights w[t, i] >= 0 of entry i at step t, and learned slots m
that stand beside the entries of every trial,

    readout[t]  = (Σ_m w[t, m] v[m] + Σ_{i < t} w[t, i] v[i]) / (Σ_m w[t, m] + Σ_{i < t} w[t, i])
    evidence[t] = log of that denominator over Σ_m w[t, m]

The slots give the readout before anything has happened, and the evidence counts what has: an average alone cannot.

full, ring   w = exp(τ cos(query, key)), the softmax of the cosine (Munkhdalai & Yu 2017, eq. 8); a ring keeps the
             latest entries alone, those of padding among them.
linear       w = φ(query) · φ(key) with φ = softplus (Katharopoulos et al. 2020): the sums over entries are a state of
             constant size.
delta        the same state under the delta rule (Schlag et al. 2021): an entry replaces what its key reads so far. Its
             readout is what the slots give plus φ(query) · state, without the denominator.

Each form exists twice: `write` and `read` for acting step by step, `sequence` for a whole trial at once.

Letters: B trials, T steps, H heads, C classes, K size of a key, V size of a value.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from envs.structs import Struct

Form = Literal["full", "ring", "linear", "delta"]
CHUNK = 64
"""Steps that the constant-size forms compute at once."""
MOST_SHARP = 20.0
"""Bound on τ, which starts at 4: it keeps exp(τ cos) and its sums within float32."""


@dataclass(frozen=True, eq=False)
class Entries(Struct):
    """What a trial has written so far, or writes in all."""

    key: Tensor  # [B, T, H, K] features
    value: Tensor  # [B, T, H, V]
    kind: Tensor  # [B, T] int64: class of each entry
    valid: Tensor  # [B, T] float: 0 for steps that did not happen


class Memory(nn.Module):
    """One memory with `num_classes` kinds of entries, each of which is read apart from the others.

    Args:
        form: see above. `uniform` makes every weight 1.
        capacity: entries that a full memory or a ring holds.
    """

    def __init__(
        self, form: Form, num_heads: int, key_size: int, value_size: int, num_classes: int, num_slots: int,
        capacity: int, uniform: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.form, self.uniform, self.capacity, self.num_classes = form, uniform, capacity, num_classes
        self.constant_size = form in ("linear", "delta")
        self.shape = (num_heads, key_size, value_size)
        self.slot_key = nn.Parameter(torch.randn(num_heads, num_slots, key_size))
        self.slot_value = nn.Parameter(0.1 * torch.randn(num_heads, num_slots, value_size))
        self.slot_weight = nn.Parameter(torch.zeros(num_heads, num_slots))
        cosine = not (self.constant_size or uniform)
        self.sharpness = nn.Parameter(torch.full((num_heads,), -1.4)) if cosine else None
        self.write_strength = nn.Parameter(torch.zeros(num_heads)) if form == "delta" else None

    def features(self, x: Tensor) -> Tensor:
        """Raw keys or queries [..., H, K] -> features whose product is their weight (before the exponential)."""
        if self.uniform:
            return torch.ones_like(x) / math.sqrt(x.shape[-1])
        if self.constant_size:
            positive = functional.softplus(x)
            return functional.normalize(positive, dim=-1) if self.form == "delta" else positive / math.sqrt(x.shape[-1])
        return functional.normalize(x, dim=-1)

    def weight(self, product: Tensor, heads_at: int) -> Tensor:
        """Products of features -> weights; `heads_at` is the axis of the heads."""
        if self.sharpness is None:
            return product
        sharpness = MOST_SHARP * self.sharpness.sigmoid().view(-1, *[1] * (product.dim() - heads_at - 1))
        return (sharpness * product).exp()

    def slots(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Numerator [..., H, V] and denominator [..., H] of the learned slots for query features [..., H, K]."""
        product = torch.einsum("...hk,hmk->...hm", query, self.features(self.slot_key.transpose(0, 1)).transpose(0, 1))
        weight = self.weight(product, product.dim() - 2) * self.slot_weight.exp()
        return torch.einsum("...hm,hmv->...hv", weight, self.slot_value), weight.sum(-1)

    def start(self, num_lanes: int) -> Any:
        """The memory of a trial that begins: what `write` extends and `read` reads."""
        heads, key_size, value_size = self.shape
        like = self.slot_key
        if self.constant_size:
            return like.new_zeros(num_lanes, self.num_classes, heads, key_size, value_size + 1)
        return Entries(
            like.new_zeros(num_lanes, 0, heads, key_size), like.new_zeros(num_lanes, 0, heads, value_size),
            torch.zeros(num_lanes, 0, dtype=torch.int64, device=like.device), like.new_zeros(num_lanes, 0),
        )  # fmt: skip

    def write(self, state: Any, entry: Entries) -> Any:
        """Add one entry a lane: `entry` has T = 1 and holds raw keys."""
        entry = dataclasses.replace(entry, key=self.features(entry.key))
        if not self.constant_size:
            return Entries.cat([state, entry], 1)[:, -self.capacity :]
        key, value, valid = (
            entry.key[:, 0],
            entry.value[:, 0],
            entry.valid[:, :1, None],
        )  # [B, H, K], [B, H, V], [B, 1, 1]
        if self.write_strength is not None:
            own = torch.take_along_dim(state, entry.kind[:, :1, None, None, None], 1)[:, 0]  # [B, H, K, V + 1]
            read = torch.einsum("bhk,bhkv->bhv", key, own[..., :-1])
            value = self.write_strength.sigmoid().unsqueeze(-1) * (value - read)
        new = torch.cat([value * valid, valid.expand(*value.shape[:2], 1)], -1)
        outer = (key.unsqueeze(-1) * new.unsqueeze(-2)).unsqueeze(1)  # [B, 1, H, K, V + 1]
        return state.scatter_add(1, entry.kind[:, :1, None, None, None].expand_as(outer), outer)

    def read(self, state: Any, query: Tensor) -> tuple[Tensor, Tensor]:
        """Raw queries [B, H, K] -> readout [B, C, H, V] and evidence [B, C, H]."""
        query = self.features(query)
        if self.constant_size:
            sums = torch.einsum("bhk,bchkv->bchv", query, state)
        else:
            weight = self.weight(torch.einsum("bhk,bthk->bht", query, state.key), 1)
            sums = torch.einsum("bht,bthcv->bchv", weight, self._by_class(state))
        return self._finish(query, sums)

    def sequence(self, query: Tensor, entries: Entries) -> tuple[Tensor, Tensor]:
        """What each step of a trial reads: raw queries [B, T, H, K] -> readout [B, T, C, H, V], evidence [B, T, C, H].

        Step t reads the entries i < t.
        """
        query, entries = self.features(query), dataclasses.replace(entries, key=self.features(entries.key))
        chunks = self._chunks(query, entries) if self.constant_size else [self._attend(query, entries)]
        return self._finish(query, torch.cat(chunks, 1))

    def attention(self, query: Tensor, entries: Entries) -> Tensor:
        """Share of each entry in what each step reads, [B, H, T, T]: row t sums to less than 1 by the slots' share.

        Of classes taken together; under the delta rule before its corrections.
        """
        query, key = self.features(query), self.features(entries.key)
        weight = self._weights(query, key) * entries.valid[:, None, None]
        _, slots = self.slots(query)
        return weight / (weight.sum(-1) + slots.transpose(1, 2)).unsqueeze(-1)

    def _weights(self, query: Tensor, key: Tensor) -> Tensor:
        """Causal weights [B, H, T, T] of features [B, T, H, K]."""
        steps = query.shape[1]
        weight = self.weight(query.transpose(1, 2) @ key.permute(0, 2, 3, 1), 1)
        readable = torch.ones(steps, steps, dtype=torch.bool, device=query.device).tril(-1)
        if self.form == "ring":
            readable = readable.triu(-self.capacity)
        return weight * readable

    def _by_class(self, entries: Entries) -> Tensor:
        """Values with a 1 behind them, in the columns of their class: [B, T, H, C, V + 1]."""
        valid = entries.valid[..., None, None]
        value = torch.cat([entries.value * valid, valid.expand(*entries.value.shape[:3], 1)], -1).unsqueeze(3)
        if self.num_classes == 1:
            return value
        own = entries.kind.unsqueeze(-1) == torch.arange(self.num_classes, device=value.device)
        return own.to(value.dtype)[:, :, None, :, None] * value

    def _attend(self, query: Tensor, entries: Entries) -> Tensor:
        """Sums over all earlier entries at once, [B, T, C, H, V + 1]."""
        values = self._by_class(entries).transpose(1, 2)  # [B, H, T, C, V + 1]
        sums = self._weights(query, entries.key) @ values.flatten(3)
        return sums.unflatten(3, values.shape[3:]).permute(0, 2, 3, 1, 4)

    def _chunks(self, query: Tensor, entries: Entries) -> list[Tensor]:
        """The same in chunks of steps, with the sums over earlier chunks in a state [B, C, H, K, V + 1]."""
        state, out = self.start(len(query)), []
        for start in range(0, query.shape[1], CHUNK):
            q, chunk = query[:, start : start + CHUNK], entries[:, start : start + CHUNK]
            if self.write_strength is not None:
                chunk = self._corrected(state, chunk)
            out.append(self._attend(q, chunk) + torch.einsum("bthk,bchkv->btchv", q, state))
            state = state + torch.einsum("bthk,bthcv->bchkv", chunk.key, self._by_class(chunk))
        return out

    def _corrected(self, state: Tensor, chunk: Entries) -> Entries:
        """A chunk's values as the delta rule writes them: each minus what its key read of its class just before.

        With G the products of keys of the same class, (I + β tril(G, -1)) u = β (v - state's readout): Yang et al.
        2024, Parallelizing Linear Transformers with the Delta Rule over Sequence Length, section 3.
        """
        assert self.write_strength is not None
        own = torch.take_along_dim(state, chunk.kind[:, :, None, None, None], 1)  # [B, T, H, K, V + 1]
        read = torch.einsum("bthk,bthkv->bthv", chunk.key, own[..., :-1])
        strength = self.write_strength.sigmoid()[:, None] * chunk.valid[:, None]  # [B, H, T]
        target = strength.unsqueeze(-1) * (chunk.value - read).transpose(1, 2)  # [B, H, T, V]
        same = (chunk.kind.unsqueeze(1) == chunk.kind.unsqueeze(2)).unsqueeze(1)
        gram = strength.unsqueeze(-1) * self._weights(chunk.key, chunk.key) * same
        value = torch.linalg.solve_triangular(gram, target, upper=False, unitriangular=True).transpose(1, 2)
        return dataclasses.replace(chunk, value=value)

    def _finish(self, query: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
        """Sums over entries [..., C, H, V + 1] and the slots -> readout and evidence."""
        numerator, denominator = self.slots(query)  # [..., H, V], [..., H]
        numerator, denominator = numerator.unsqueeze(-3), denominator.unsqueeze(-2)
        total = sums[..., -1] + denominator
        evidence = (total / denominator).log()
        if self.write_strength is not None:
            return numerator / denominator.unsqueeze(-1) + sums[..., :-1], evidence
        return (numerator + sums[..., :-1]) / total.unsqueeze(-1), evidence
