"""Dirichlet draws against SciPy's distributions."""

from __future__ import annotations

import pytest
import torch
from tabulars import generator

from envs.tabular.dirichlet import sample_dirichlet


class TestDirichlet:
    @pytest.mark.parametrize("shape", [0.05, 0.3, 1.0, 2.5, 40.0])
    def test_the_dirichlet_sampler_for_any_shape(self, shape):
        """Two cells: a Beta draw, compared with SciPy's distribution."""
        from scipy.stats import beta, kstest

        cells = torch.tensor([shape, 1.7]).expand(20_000, 2)
        draws = sample_dirichlet(cells, generator(5))[:, 0].double().numpy()
        assert kstest(draws, beta(shape, 1.7).cdf).statistic < 0.014  # 95 % of right samplers stay below 0.0096

    def test_very_small_shapes_do_not_underflow(self):
        p = sample_dirichlet(torch.full((10_000, 4), 1e-3), generator(6))
        assert p.isfinite().all() and (p.sum(-1) - 1).abs().max() < 1e-5 and p.amax(-1).mean() > 0.98
