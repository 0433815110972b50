"""Embeddings of categorical observations, for networks of one set of parameters and for a set for each task.

Each number of an observation chooses a row of a table, and the rows are added up: what a linear layer makes of
one-hots, which never exist here.
"""

from __future__ import annotations

import itertools

import torch
from gymnasium import spaces
from torch import Generator, Tensor, nn

from envs.kinds import counts

NUM_FEATURES = 64


class EmbeddingTables:
    """A table of V rows for the categories of all numbers, from parameters."""

    num_features = NUM_FEATURES

    def __init__(self, space: spaces.MultiDiscrete) -> None:
        *first, self.num_rows = itertools.accumulate(counts(space), initial=0)
        self.first, self.std = torch.tensor(first), len(first) ** -0.5  # so that features have a variance of 1
        self.tensor_sizes = [self.num_rows * NUM_FEATURES]

    def rows(self, obs: Tensor) -> Tensor:
        """Rows of the table [..., D]."""
        return obs.long() + self.first.to(obs.device)

    def init(self, generator: Generator) -> list[Tensor]:
        return [self.std * torch.randn(self.tensor_sizes[0], generator=generator, device=generator.device)]

    def encode(self, params: Tensor, obs: Tensor) -> Tensor:
        """Each task's observations [N, B, D], by its parameters [N, V F]: [N, B, F]."""
        table = params.unflatten(-1, (self.num_rows, NUM_FEATURES))
        rows = self.rows(obs).flatten(1).unsqueeze(-1).expand(-1, -1, NUM_FEATURES)
        return table.gather(1, rows).view(*obs.shape, NUM_FEATURES).sum(2)


class EmbeddingEncoder(nn.Module):
    """[..., D] -> [..., F]."""

    num_features = NUM_FEATURES

    def __init__(self, space: spaces.MultiDiscrete) -> None:
        super().__init__()
        self.tables = EmbeddingTables(space)
        self.table = nn.Embedding(self.tables.num_rows, NUM_FEATURES)
        nn.init.normal_(self.table.weight, std=self.tables.std)

    def forward(self, obs: Tensor) -> Tensor:
        return self.table(self.tables.rows(obs)).sum(-2)
