"""Parts of networks with fast weights: layers that they augment, the memory that gives them, inputs from gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from metarl.backend.products import Linear, linear
from metarl.policies.memory import Entries, Memory


class Embedding(nn.Module):
    """h = A1 x1 + A2 x2 + ... + b, and B φ(h) added to it: two layers with a linear path around the nonlinearity."""

    def __init__(self, num_inputs: Sequence[int], num_outputs: int) -> None:
        super().__init__()
        self.linear = nn.ModuleList(Linear(n, num_outputs, bias=k == 0) for k, n in enumerate(num_inputs))
        self.residual = Linear(num_outputs, num_outputs)

    def forward(self, *inputs: Tensor) -> Tensor:
        h = sum(layer(x) for layer, x in zip(self.linear, inputs, strict=True))
        return h + self.residual(functional.silu(h))


class FastLayer(nn.Module):
    """A layer φ(W x) augmented with what a memory gave for its input: y = φ(W x) + U c, or y = φ(W [x, c]).

    With codes of size 0 it is only the slow layer.
    """

    def __init__(self, num_inputs: int, num_outputs: int, code_size: int, weights: str, act: nn.Module) -> None:
        super().__init__()
        self.act, self.concatenates = act, weights == "readout"
        self.slow = Linear(num_inputs + (code_size if self.concatenates else 0), num_outputs)
        fast = code_size and not self.concatenates
        self.out = Linear(code_size, num_outputs, bias=False) if fast else None  # U

    def alone(self, x: Tensor) -> Tensor:
        """What the slow weights give for the first inputs x [..., <= D], the others and the code being zeros."""
        return self.act(linear(x, self.slow.weight[:, : x.shape[-1]], self.slow.bias))

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """x [..., D], code [..., R] -> [..., D']."""
        if self.concatenates:
            x = torch.cat([x.expand(*code.shape[:-1], -1), code], -1)
        y = self.act(self.slow(x))
        return y if self.out is None else y + self.out(code)


class Recall(nn.Module):
    """A memory with what makes keys, queries, values and gates.

    Args:
        hidden_size: of the hidden vectors of entries, and of embedded observations (D).
        num_inputs: of the layer that reads it.
        by_observation: are keys and queries made from observations alone, and not from entries and the layer's input?
    """

    def __init__(self, memory: Memory, hidden_size: int, num_inputs: int, by_observation: bool) -> None:
        super().__init__()
        self.memory, self.shape, self.by_observation = memory, memory.shape, by_observation
        heads, d = self.shape.num_heads, hidden_size
        self.code_size = heads * self.shape.value_size
        self.key = Linear(d, heads * self.shape.key_size)
        self.query = Linear(d if by_observation else num_inputs, heads * self.shape.key_size)
        self.code = Linear(d, self.code_size)
        self.gate = Linear(d, heads * memory.gates) if memory.gates else None
        own = None if by_observation else self.key
        self.writers = [layer for layer in (own, self.code, self.gate) if isinstance(layer, nn.Linear)]

    def entries(self, embedding: Tensor, hidden: Tensor, kind: Tensor, valid: Tensor) -> Entries:
        """Of steps [B, T]: embedded observations and hidden vectors of the entries, both [B, T, D], and classes."""
        return self.entries_of(embedding, products(self.writers, hidden), kind, valid)

    def entries_of(self, embedding: Tensor, written: list[Tensor], kind: Tensor, valid: Tensor) -> Entries:
        """The same, of what the layers `writers` gave for the hidden vectors."""
        kind = kind if self.shape.num_classes > 1 else torch.zeros_like(kind)
        key, *rest = map(self._heads, [self.key(embedding), *written] if self.by_observation else written)
        code, gate = rest if self.gate is not None else (rest[0], rest[0][..., :0])
        return Entries(key, code, gate, kind, valid)

    def queries(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Of the layer's inputs x [..., D'] and the embedded observations [..., D]: [..., H, K]."""
        return self._heads(self.query(embedding if self.by_observation else x))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.shape.num_heads, -1))


def products(layers: Sequence[nn.Linear], x: Tensor) -> list[Tensor]:
    """What each layer gives for the same x [..., D], in one matrix product."""
    weight, bias = torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])
    return list(linear(x, weight, bias).split([layer.out_features for layer in layers], -1))


def preprocessed(gradient: Tensor, p: float = 7.0) -> list[Tensor]:
    """log|g| / p and the sign of g; -1 and e^p g where |g| < e^-p (Andrychowicz et al. 2016, appendix A)."""
    size = gradient.abs()
    small = size < math.exp(-p)
    log = torch.where(small, -1.0, size.clamp_min(math.exp(-p)).log() / p)
    return [log, torch.where(small, math.exp(p) * gradient, gradient.sign())]
