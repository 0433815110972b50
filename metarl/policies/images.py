"""A small convolutional encoder of images, for networks of one set of parameters and for a set for each task.

Images arrive flattened, [..., H W C] of uint8, since rollouts hold observations as vectors. They are scaled here, by
the bounds of their space, to 0 .. 1.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor, nn
from torch.nn import functional

from envs.core import Env
from envs.errors import require
from envs.kinds import is_image
from metarl.policies.context import make_any_policy
from metarl.policies.distributions import Distribution
from metarl.policies.mlp import MLPConfig, MLPPolicy, Network, Policy, StepInput


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
        low, high = (np.asarray(x, np.float32).reshape(-1) for x in (space.low, space.high))
        same = (low == low[0]).all() and (high == high[0]).all()
        low, high = (x[:1] if same else x for x in (low, high))
        self.low, self.span = torch.from_numpy(low), torch.from_numpy(np.maximum(high - low, 1))

    def scaled(self, obs: Tensor, dtype: torch.dtype) -> Tensor:
        """[..., H W C] -> [..., H, W, C] from 0 to 1."""
        x = (obs.to(dtype) - self.low.to(obs.device, dtype)) / self.span.to(obs.device, dtype)
        return x.unflatten(-1, self.shape)


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


class ImagePolicy(Policy):
    """Image -> convolutions -> MLP -> action distribution, for all tasks at once by grouped convolutions.

    Parameters are those of the convolutions, weight and bias of each layer, followed by those of the MLP.
    """

    def __init__(self, observation_space: spaces.Box, action_space: spaces.Space, config: MLPConfig) -> None:
        self.convolutions = c = Convolutions(observation_space)
        features = spaces.Box(-np.inf, np.inf, (c.num_features,), np.float32)
        self.config, self.mlp = config, MLPPolicy(features, action_space, config)
        sizes = [n for shape in c.weights for n in (math.prod(shape), shape[0])]
        self.num_convolved = sum(sizes)
        self.tensor_sizes = sizes + self.mlp.tensor_sizes
        self.num_parameters, head = sum(self.tensor_sizes), self.mlp.parts["head"]
        self.parts = {"head": slice(self.num_convolved + head.start, self.num_parameters)}

    def init(self, generator: Generator) -> Tensor:
        """Uniform He weights of convolutions, zero biases; the rest as `MLPPolicy`."""
        parts = []
        for shape in self.convolutions.weights:
            weight = torch.empty(shape, device=generator.device)
            nn.init.kaiming_uniform_(weight, nonlinearity="relu", generator=generator)
            parts += [weight.flatten(), weight.new_zeros(shape[0])]
        return torch.cat([*parts, self.mlp.init(generator)])

    def features(self, params: Tensor, obs: Tensor) -> Tensor:
        """Each task's images [N, B, H W C], encoded by its parameters [N, P]: [N, B, F]."""
        c, n, batch = self.convolutions, *obs.shape[:2]
        tensors = iter(params[:, : self.num_convolved].split(self.tensor_sizes[: 2 * len(c.layers)], -1))
        x = c.scaled(obs, params.dtype).permute(1, 0, 4, 2, 3).flatten(1, 2)  # [B, N C, H, W]
        for layer, shape in zip(c.layers, c.weights, strict=True):
            weight, bias = next(tensors).reshape(-1, *shape[1:]), next(tensors).reshape(-1)
            x = functional.conv2d(x, weight, bias, layer.stride, layer.padding, groups=n).relu()
        return x.reshape(batch, n, -1).transpose(0, 1)

    def bind(self, params: Tensor) -> Network:
        mlp = self.mlp.bind(params[:, self.num_convolved :])

        def network(inputs: StepInput, memory: Any = None) -> tuple[Distribution, Any]:
            obs = inputs.obs
            features = self.features(params, obs.flatten(1, -2)).reshape(*obs.shape[:-1], -1)
            return mlp(dataclasses.replace(inputs, obs=features), memory)

        return network


def policy_for(env: Env, config: MLPConfig) -> Policy:
    """The policy of a gradient method: an MLP, after convolutions where it sees images. Raises `InputError`."""
    if is_image(env.observation_space):
        require(not config.context_size, "A policy of images has no context vector; leave context_size out.")
        return ImagePolicy(env.observation_space, env.action_space, config)
    return make_any_policy(env.observation_space, env.action_space, config)
