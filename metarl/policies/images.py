"""A small convolutional encoder of images, for networks of one set of parameters and for a set for each task.

Images arrive flattened, [..., H W C] of uint8, since rollouts hold observations as vectors. They are scaled here, by
the bounds of their space, to 0 .. 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Layer:
    """A convolution followed by a ReLU."""

    channels: int
    kernel: int
    stride: int
    padding: int


LARGE = (Layer(32, 8, 4, 0), Layer(64, 4, 2, 0), Layer(64, 3, 1, 0))
"""Of images from 36 x 36 on (Mnih et al. 2015)."""
SMALL = (Layer(16, 3, 1, 1), Layer(32, 3, 2, 1), Layer(32, 3, 2, 1))
"""Of smaller ones, such as the 7 x 7 cells that an agent of MiniGrid sees."""


class Convolutions:
    """What both encoders have in common: layers, shapes of weights, the number of features, and the scaling."""

    def __init__(self, space: spaces.Box) -> None:
        self.height, self.width, channels = self.shape = space.shape
        self.layers = LARGE if min(self.height, self.width) >= 36 else SMALL
        self.weights: list[tuple[int, int, int, int]] = []  # [out, in, kernel, kernel]
        size = self.height, self.width
        for layer in self.layers:
            self.weights.append((layer.channels, channels, layer.kernel, layer.kernel))
            size = tuple((n + 2 * layer.padding - layer.kernel) // layer.stride + 1 for n in size)  # type: ignore[assignment]
            channels = layer.channels
        self.num_features = channels * math.prod(size)
        self.tensor_sizes = [n for shape in self.weights for n in (math.prod(shape), shape[0])]
        low, high = (np.asarray(x, np.float32).reshape(-1) for x in (space.low, space.high))
        same = (low == low[0]).all() and (high == high[0]).all()
        low, high = (x[:1] if same else x for x in (low, high))
        self.low, self.span = torch.from_numpy(low), torch.from_numpy(np.maximum(high - low, 1))

    def scaled(self, obs: Tensor, dtype: torch.dtype) -> Tensor:
        """[..., H W C] -> [..., H, W, C] from 0 to 1."""
        x = (obs.to(dtype) - self.low.to(obs.device, dtype)) / self.span.to(obs.device, dtype)
        return x.unflatten(-1, self.shape)

    def init(self, generator: Generator) -> list[Tensor]:
        """Weight and bias of each layer, flat: uniform He weights, zero biases."""
        parts = []
        for shape in self.weights:
            weight = torch.empty(shape, device=generator.device)
            nn.init.kaiming_uniform_(weight, nonlinearity="relu", generator=generator)
            parts += [weight.flatten(), weight.new_zeros(shape[0])]
        return parts

    def encode(self, params: Tensor, obs: Tensor) -> Tensor:
        """Each task's images [N, B, H W C], by its parameters [N, P]: [N, B, F], by grouped convolutions."""
        n, batch = obs.shape[:2]
        tensors = iter(params.split(self.tensor_sizes, -1))
        x = self.scaled(obs, params.dtype).permute(1, 0, 4, 2, 3).flatten(1, 2)  # [B, N C, H, W]
        for layer, shape in zip(self.layers, self.weights, strict=True):
            weight, bias = next(tensors).reshape(-1, *shape[1:]), next(tensors).reshape(-1)
            x = functional.conv2d(x, weight, bias, layer.stride, layer.padding, groups=n).relu()
        return x.reshape(batch, n, -1).transpose(0, 1)


class ImageEncoder(nn.Module):
    """[..., H W C] -> [..., F]."""

    def __init__(self, space: spaces.Box) -> None:
        super().__init__()
        self.convolutions = c = Convolutions(space)
        self.num_features = c.num_features
        self.layers = nn.ModuleList(
            nn.Conv2d(shape[1], shape[0], shape[2], layer.stride, layer.padding)
            for shape, layer in zip(c.weights, c.layers, strict=True)
        )
        for layer in self.layers:
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, obs: Tensor) -> Tensor:
        first = self.layers[0]
        assert isinstance(first, nn.Conv2d)
        x = self.convolutions.scaled(obs.reshape(-1, obs.shape[-1]), first.weight.dtype).permute(0, 3, 1, 2)
        for layer in self.layers:
            x = layer(x).relu()
        return x.reshape(*obs.shape[:-1], -1)
