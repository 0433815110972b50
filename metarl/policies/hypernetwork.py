"""A policy whose weights a recurrent state generates (Beck et al. 2022, 2023).

The policy sees the observation alone, as a network would that was trained on the one task; what is known about the task
decides its weights. At first the generator has weights of 0, and as its biases those of an ordinary fresh network
(bias-hyperinit): all states then generate that network, and learning starts from it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from metarl.backend.products import Linear

UNITS = 32
"""Of the generated network's two layers before its output."""


class Hypernetwork(nn.Module):
    """state [..., D], observation [..., O] -> outputs [..., K] of a network with a layer of its own weights, shared by
    all tasks, and two generated ones.
    """

    def __init__(self, size: int, obs_size: int, num_outputs: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(Linear(obs_size, UNITS), nn.SiLU())
        base = [Linear(UNITS, UNITS), Linear(UNITS, num_outputs)]
        nn.init.orthogonal_(base[1].weight, 0.01)
        nn.init.zeros_(base[1].bias)
        self.shapes = [p.shape for layer in base for p in layer.parameters()]
        weights = nn.utils.parameters_to_vector(p for layer in base for p in layer.parameters())
        self.generate = Linear(size, len(weights))
        nn.init.zeros_(self.generate.weight)
        self.generate.bias.data.copy_(weights.detach())

    def weights(self, state: Tensor) -> list[Tensor]:
        """Weight and bias of each generated layer: [..., 32, 32], [..., 32], [..., K, 32], [..., K]."""
        parts = self.generate(state).split([shape.numel() for shape in self.shapes], -1)
        return [part.unflatten(-1, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def forward(self, state: Tensor, obs: Tensor) -> Tensor:
        w_hidden, b_hidden, w_out, b_out = self.weights(state)
        y = functional.silu(apply(w_hidden, self.embed(obs)) + b_hidden)
        return apply(w_out, y) + b_out


def apply(weight: Tensor, x: Tensor) -> Tensor:
    """Each step's own matrix [..., K, D] times its vector [..., D]."""
    return torch.matmul(weight, x.unsqueeze(-1)).squeeze(-1)
