"""Fast weights that learn by the delta rule, with keys of either sign (Schlag et al. 2021; Yang et al. 2024, 2025).

Each head holds a matrix W that starts at a learned W0 and moves, after each step, on that step's own key,

    W <- α W + β (v - α W k) kᵀ,        readout = W q,        |k| = |q| = 1

so an entry corrects what its key would have read. β = g / (1 + n)^p, where g in (0, 1) is a gate that the entry
computes, p in (0, 1) is learned for each head, and n counts what was written about the key:

    n(q) = qᵀ N q,        N <- α N + k kᵀ

n = Σ (kᵢ · q)² is the count of earlier entries with that key, so that p = 1 keeps the mean of their values, as
recursive least squares would, and p = 0 the latest. The evidence is log(1 + n). α is 1 in `DeltaMemory`; in
`GatedDeltaMemory` the entry computes it, and the memory forgets.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from envs.structs import Struct
from metarl.policies.memory.cell import Entries, Memory, MemoryShape

CHUNK = 64
"""Steps that are computed at once."""


@dataclass(frozen=True, eq=False)
class FastWeights(Struct):
    """The state of a trial."""

    weights: Tensor  # [B, C, H, K, V] W, transposed
    counts: Tensor  # [B, C, H, K, K] N


class DeltaMemory(Memory):
    """See the module's text. All classes forget alike; an entry moves the weights of its own class alone."""

    gates = 1

    def __init__(self, shape: MemoryShape) -> None:
        super().__init__(shape)
        heads = shape.num_heads
        self.initial = nn.Parameter(0.1 * torch.randn(heads, shape.key_size, shape.value_size))
        self.power = nn.Parameter(torch.linspace(3.0, -3.0, heads))  # p = sigmoid(power): the first keeps means

    def start(self, num_lanes: int) -> FastWeights:
        s = self.shape
        weights = self.initial.expand(num_lanes, s.num_classes, *self.initial.shape)
        return FastWeights(weights, weights.new_zeros(*weights.shape[:-1], s.key_size))

    def read(self, state: FastWeights, query: Tensor) -> tuple[Tensor, Tensor]:
        query = self.unit(query)
        pairs = (query.unsqueeze(-1) * query.unsqueeze(-2)).flatten(2)
        count = torch.einsum("bhp,bchp->bch", pairs, state.counts.flatten(3))
        return torch.einsum("bhk,bchkv->bchv", query, state.weights), count.clamp_min(0).log1p()

    def write(self, state: FastWeights, entry: Entries) -> FastWeights:
        key, value, valid = self.unit(entry.key[:, 0]), entry.value[:, 0], entry.valid[:, :1, None, None]
        keep, gate = self.gated(entry)
        if self.gates > 1:
            state = state.map(lambda x: x * keep.exp()[:, :, :, None, None])
        one = self.shape.num_classes == 1
        own = torch.arange(len(key), device=key.device), entry.kind[:, 0]
        before = state[:, 0] if one else state[own]
        weights, counts = before.weights, before.counts  # [B, H, K, V], [B, H, K, K]
        pairs = key.unsqueeze(-1) * key.unsqueeze(-2)
        strength = gate[:, 0] * self.shrink((pairs * counts).sum((-2, -1)))
        change = strength.unsqueeze(-1) * (value - torch.einsum("bhk,bhkv->bhv", key, weights))
        weights = torch.addcmul(weights, key.unsqueeze(-1), change.unsqueeze(-2))
        counts = torch.addcmul(counts, valid, pairs)
        if one:
            return FastWeights(weights.unsqueeze(1), counts.unsqueeze(1))
        return FastWeights(state.weights.index_put(own, weights), state.counts.index_put(own, counts))

    def sequence(self, query: Tensor, entries: Entries) -> tuple[Tensor, Tensor]:
        """A chunk of steps at a time: the changes u of its entries solve a triangular system (Yang et al. 2024, 2025)

        u_t = β_t (v_t - Γ(t, 0) W kₜ - Σ_{s < t} Γ(t, s) (k_s · k_t) u_s),     Γ(t, s) = α_{s+1} ... α_t
        """
        query, key = self.unit(query), self.unit(entries.key)
        keep, gate = self.gated(entries)
        state, parts = self.start(len(query)), []
        for start in range(0, query.shape[1], CHUNK):
            rows = slice(start, start + CHUNK)
            chunk = Chunk(self, state, key[:, rows], entries[:, rows], keep[:, rows], gate[:, rows], start == 0)
            parts.append(chunk.read(query[:, rows]))
            if start + CHUNK < query.shape[1]:
                state = chunk.after()
        return torch.cat([p[0] for p in parts], 1), torch.cat([p[1] for p in parts], 1).clamp_min(0).log1p()

    def gated(self, entries: Entries) -> tuple[Tensor, Tensor]:
        """log α [B, T, H] and the gate g [B, T, H], 0 and 0 for entries that are not valid."""
        gate = (entries.gate[..., 0] + 3.0).sigmoid() * entries.valid.unsqueeze(-1)
        return torch.zeros_like(gate), gate

    def shrink(self, count: Tensor) -> Tensor:
        """(1 + n)^-p for counts [B, H, ...]."""
        power = self.power.sigmoid().view(-1, *[1] * (count.dim() - 2))
        return torch.exp(-power * count.clamp_min(0).log1p())

    def unit(self, x: Tensor) -> Tensor:
        """Raw keys or queries [..., K] -> those of length 1."""
        return functional.normalize(torch.ones_like(x) if self.shape.uniform else x, dim=-1)

    def attention(self, query: Tensor, entries: Entries) -> Tensor:
        """An entry's part of n(q) / (1 + n(q)), without forgetting: before the corrections of the delta rule."""
        q, k = self.unit(query).transpose(1, 2), self.unit(entries.key).transpose(1, 2)
        part = (q @ k.transpose(2, 3)).square().tril(-1) * entries.valid[:, None, None]
        return part / (1 + part.sum(-1, keepdim=True))


class GatedDeltaMemory(DeltaMemory):
    """Entries compute what the memory keeps, α = exp(-softplus(x - 7)): nearly all at first (Yang et al. 2025)."""

    gates = 2

    def gated(self, entries: Entries) -> tuple[Tensor, Tensor]:
        keep, gate = super().gated(entries)
        return keep - functional.softplus(entries.gate[..., 1] - 7.0) * entries.valid.unsqueeze(-1), gate


class Chunk:
    """Up to CHUNK steps of whole trials, all at once.

    Args:
        key: of length 1 [B, T, H, K].
        keep, gate: log α and g of each entry [B, T, H].
        first: is `state` that at the beginning of a trial?
    """

    def __init__(
        self,
        memory: DeltaMemory,
        state: FastWeights,
        key: Tensor,
        entries: Entries,
        keep: Tensor,
        gate: Tensor,
        first: bool,
    ) -> None:
        self.state, self.first, self.forgets = state, first, memory.gates > 1
        classes = torch.arange(memory.shape.num_classes, device=key.device)
        self.own = (entries.kind.unsqueeze(-1) == classes).to(key.dtype)  # [B, T, C]
        self.valid, self.key = entries.valid, key.transpose(1, 2)  # [B, T], [B, H, T, K]
        self.total = keep.transpose(1, 2).cumsum(-1)  # [B, H, T] log Γ(t, 0)
        self.before = self.total - keep.transpose(1, 2)
        gram = self.key @ self.key.transpose(2, 3)
        kept = gram * self.decay(self.total)
        if memory.shape.num_classes > 1:
            kept = kept * (self.own @ self.own.transpose(1, 2)).unsqueeze(1)
        count = (kept * gram).sum(-1)
        known = torch.einsum("btc,bhtk,bchkv->bhtv", self.own, self.key, state.weights)
        if not first:
            count = count + self.total.exp() * torch.einsum(
                "bhtk,bchkj,bhtj,btc->bht", self.key, state.counts, self.key, self.own
            )
        strength = (gate.transpose(1, 2) * memory.shrink(count)).unsqueeze(-1)
        target = strength * (entries.value.transpose(1, 2) - known * self.total.exp().unsqueeze(-1))
        change = torch.linalg.solve_triangular(strength * kept, target, upper=False, unitriangular=True)
        self.change = change.unsqueeze(3) * self.own[:, None, :, :, None]  # [B, H, T, C, V]

    def decay(self, until: Tensor) -> Tensor:
        """Γ of each pair of steps, 0 unless the second is earlier and valid: [B, H, T, T], or [B, 1, T, T] of ones."""
        steps = until.shape[-1]
        earlier = torch.ones(steps, steps, dtype=torch.bool, device=until.device).tril(-1)
        valid = self.valid[:, None, None]
        if not self.forgets:
            return earlier * valid
        return valid * (until.unsqueeze(-1) - self.total.unsqueeze(-2)).where(earlier, -torch.inf).exp()

    def read(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Readout [B, T, C, H, V] and count n [B, T, C, H] of queries of length 1 [B, T, H, K]."""
        seen = query.transpose(1, 2) @ self.key.transpose(2, 3)
        kept = seen * self.decay(self.before)
        readout = (kept @ self.change.flatten(3)).unflatten(3, self.change.shape[3:])
        count = ((kept * seen) @ self.own.unsqueeze(1)).permute(0, 2, 3, 1)
        left = self.before.exp()
        readout = readout.permute(0, 2, 3, 1, 4) + torch.einsum(
            "bht,bthk,bchkv->btchv", left, query, self.state.weights
        )
        if not self.first:
            count = count + torch.einsum("bht,bthk,bchkj,bthj->btch", left, query, self.state.counts, query)
        return readout, count

    def after(self) -> FastWeights:
        """The state after the chunk."""
        left = (self.total[..., -1:] - self.total).exp()  # [B, H, T] Γ(T, t)
        lost = self.total[..., -1].exp()[:, None, :, None, None]
        written = left * self.valid.unsqueeze(1)
        return FastWeights(
            lost * self.state.weights + torch.einsum("bht,bhtk,bhtcv->bchkv", left, self.key, self.change),
            lost * self.state.counts + torch.einsum("bht,btc,bhtk,bhtj->bchkj", written, self.own, self.key, self.key),
        )
