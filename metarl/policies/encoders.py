"""Encoders in front of a network: convolutions of images, embeddings of categories; vectors need none."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor

from envs.core import Env
from envs.errors import require
from envs.kinds import is_categorical, is_image
from metarl.policies.context import make_any_policy
from metarl.policies.distributions import Distribution
from metarl.policies.embeddings import EmbeddingEncoder, EmbeddingTables
from metarl.policies.images import Convolutions, ImageEncoder
from metarl.policies.mlp import MLPConfig, MLPPolicy, Network, Policy, StepInput


class TaskEncoder(Protocol):
    """An encoder whose parameters may differ from task to task."""

    num_features: int  # F
    tensor_sizes: list[int]  # numbers in each of its tensors

    def init(self, generator: Generator) -> list[Tensor]:
        """Fresh tensors, flat."""

    def encode(self, params: Tensor, obs: Tensor) -> Tensor:
        """Each task's observations [N, B, O], by its parameters [N, P]: [N, B, F]."""


def encoder_of(space: spaces.Space) -> ImageEncoder | EmbeddingEncoder | None:
    """A module from observations to features; None where these are vectors."""
    if is_categorical(space):
        return EmbeddingEncoder(space)
    return ImageEncoder(space) if is_image(space) else None


class EncodedPolicy(Policy):
    """Observation -> encoder -> MLP -> action distribution, for all tasks at once.

    Parameters are those of the encoder followed by those of the MLP.
    """

    def __init__(self, encoder: TaskEncoder, action_space: spaces.Space, config: MLPConfig) -> None:
        features = spaces.Box(-np.inf, np.inf, (encoder.num_features,), np.float32)
        self.encoder, self.config, self.mlp = encoder, config, MLPPolicy(features, action_space, config)
        self.num_encoding = sum(encoder.tensor_sizes)
        self.tensor_sizes = encoder.tensor_sizes + self.mlp.tensor_sizes
        self.num_parameters, head = sum(self.tensor_sizes), self.mlp.parts["head"]
        self.parts = {"head": slice(self.num_encoding + head.start, self.num_parameters)}

    def init(self, generator: Generator) -> Tensor:
        return torch.cat([*self.encoder.init(generator), self.mlp.init(generator)])

    def bind(self, params: Tensor) -> Network:
        encoding, rest = params.split([self.num_encoding, self.mlp.num_parameters], -1)
        mlp = self.mlp.bind(rest)

        def network(inputs: StepInput, memory: Any = None) -> tuple[Distribution, Any]:
            obs = inputs.obs
            features = self.encoder.encode(encoding, obs.flatten(1, -2)).reshape(*obs.shape[:-1], -1)
            return mlp(dataclasses.replace(inputs, obs=features), memory)

        return network


def policy_for(env: Env, config: MLPConfig) -> Policy:
    """The policy of a gradient method: an MLP, after an encoder where it sees no vectors. Raises `InputError`."""
    space = env.observation_space
    encoder = EmbeddingTables(space) if is_categorical(space) else Convolutions(space) if is_image(space) else None
    if encoder is None:
        return make_any_policy(space, env.action_space, config)
    require(not config.context_size, "A policy of images or categories has no context vector; leave context_size out.")
    return EncodedPolicy(encoder, env.action_space, config)
