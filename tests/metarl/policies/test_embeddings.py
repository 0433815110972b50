"""Embeddings: they are a linear layer of one-hots."""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Generator
from torch.nn.functional import one_hot

from metarl.policies.embeddings import EmbeddingEncoder, EmbeddingTables

SPACE = spaces.MultiDiscrete([3, 5])
OBS = torch.tensor([[[0, 4], [2, 0], [2, 0]], [[1, 1], [0, 0], [2, 4]]])  # [N, B, D]


def test_each_task_has_its_own_table():
    tables = EmbeddingTables(SPACE)
    params = torch.stack([torch.cat(tables.init(Generator().manual_seed(seed))) for seed in range(2)])
    hot = torch.cat([one_hot(OBS[..., 0], 3), one_hot(OBS[..., 1], 5)], -1).float()
    torch.testing.assert_close(tables.encode(params, OBS), hot @ params.view(2, 8, -1))


def test_both_encoders_compute_the_same():
    encoder = EmbeddingEncoder(SPACE)
    params = encoder.table.weight.flatten().expand(2, -1)
    torch.testing.assert_close(encoder.tables.encode(params, OBS), encoder(OBS))
    torch.testing.assert_close(encoder(OBS.float()), encoder(OBS))


def test_features_have_a_variance_of_one():
    tables = EmbeddingTables(spaces.MultiDiscrete([200, 200, 200]))
    params = torch.cat(tables.init(Generator().manual_seed(0))).unsqueeze(0)
    obs = torch.randint(200, (1, 500, 3), generator=Generator().manual_seed(1))
    assert 0.8 < tables.encode(params, obs).var() < 1.2
