"""A causal transformer over the steps of a trial (Vaswani et al. 2017; over trials: Melo 2022, Bauer et al. 2023).

Layers normalize what they read and add to what they were given (pre-norm, GPT-2's form), with small weights at first:
a fresh network passes each step on almost as it is, which is what makes it learn by reinforcement (Parisotto et al.
2020). While acting, keys and values of the steps so far are kept, so that a step costs one row of attention.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from envs.errors import require
from envs.structs import Struct
from metarl.backend.products import Linear
from metarl.policies.cells.cell import Cell

INIT_STD = 0.02
"""Standard deviation of initial weights, as in GPT-2; those that add to the residual stream are smaller."""


@dataclass(frozen=True, eq=False)
class Cache(Struct):
    """Of the steps so far; what the places of later ones hold is not read."""

    layers: dict[str, Tensor]  # by number: keys and values [B, 2, T, D]
    t: Tensor  # [B] int64 steps so far


class Transformer(Cell):
    """Layers of causal attention, for trials of at most `num_steps` steps.

    Args:
        size: D, a multiple of the number of heads.
        positions: is a learned vector for each step's number added to it?

    Raises:
        InputError: for a size that the heads cannot share.
    """

    def __init__(
        self, size: int, num_steps: int, num_layers: int = 2, num_heads: int = 4, positions: bool = True
    ) -> None:
        super().__init__()
        require(size % num_heads == 0, f"hidden_size must be a multiple of {num_heads}, the heads, and {size} is not.")
        self.num_steps = num_steps
        self.positions = nn.Parameter(INIT_STD * torch.randn(num_steps, size)) if positions else None
        self.layers = nn.ModuleList(Layer(size, num_heads, num_layers) for _ in range(num_layers))
        self.norm = nn.LayerNorm(size)

    def start(self, num_lanes: int) -> Cache:
        blank = self.norm.weight.new_zeros(num_lanes, 2, self.num_steps, len(self.norm.weight))
        layers = {str(k): blank for k in range(len(self.layers))}
        return Cache(layers, torch.zeros(num_lanes, dtype=torch.int64, device=blank.device))

    def step(self, x: Tensor, memory: Cache) -> tuple[Tensor, Cache]:
        if self.positions is not None:
            x = x + self.positions[memory.t]
        x, t, layers = x.unsqueeze(1), memory.t.view(-1, 1, 1, 1), {}
        past = torch.arange(self.num_steps, device=x.device) <= t  # [B, 1, 1, T]
        for layer, (name, before) in zip(self.layers, memory.layers.items(), strict=True):
            assert isinstance(layer, Layer)
            query, *own = layer.project(x)  # [B, 1, D]
            layers[name] = before.scatter(2, t.expand(-1, 2, 1, x.shape[-1]), torch.stack(own, 1))
            keys, values = layers[name].unbind(1)
            x = layer.read(x, query, keys, values, past)
        return self.norm(x).squeeze(1), Cache(layers, memory.t + 1)

    def sequence(self, x: Tensor) -> Tensor:
        if self.positions is not None:
            x = x + self.positions[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class Layer(nn.Module):
    """Attention, then a network of 4 D units at each step, both added to the residual stream."""

    def __init__(self, size: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm, self.attend, self.joined = nn.LayerNorm(size), Linear(size, 3 * size), Linear(size, size)
        self.norm_alone, self.wide = nn.LayerNorm(size), Linear(size, 4 * size)
        self.narrow = Linear(4 * size, size)
        for layer in (self.attend, self.wide, self.joined, self.narrow):
            added = layer in (self.joined, self.narrow)
            nn.init.normal_(layer.weight, std=INIT_STD / (2 * num_layers) ** 0.5 if added else INIT_STD)
            nn.init.zeros_(layer.bias)

    def alone(self, x: Tensor) -> Tensor:
        return x + self.narrow(functional.gelu(self.wide(self.norm_alone(x))))

    def heads(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, H, T, D / H]."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of x [B, T, D], each of its shape."""
        query, keys, values = self.attend(self.norm(x)).chunk(3, -1)
        return query, keys, values

    def read(self, x: Tensor, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the layer makes of x [B, t, D], by queries of t steps, keys and values [B, T, D].

        The mask [B, 1, t, T] bool says which of the T each of the t reads. Without it t is T, and each step reads those
        up to its own.
        """
        query, keys, values = self.heads(query), self.heads(keys), self.heads(values)
        found = functional.scaled_dot_product_attention(query, keys, values, mask, is_causal=mask is None)
        return self.alone(x + self.joined(found.transpose(1, 2).flatten(-2)))

    def forward(self, x: Tensor) -> Tensor:
        return self.read(x, *self.project(x))
