"""Distributions against torch.distributions, and sampling by frequency."""

from __future__ import annotations

import pytest
import torch
from torch import Generator
from torch.distributions import AffineTransform, Independent, Normal, TanhTransform, TransformedDistribution
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import kl_divergence as torch_kl

from metarl.policies.distributions import Categorical, DiagGaussian, MultiCategorical, TanhGaussian


def gaussian(seed):
    g = Generator().manual_seed(seed)
    mean, log_std = torch.randn(2, 5, 3, generator=g).double(), 0.3 * torch.randn(1, 1, 3, generator=g).double()
    return DiagGaussian(mean, log_std), Independent(Normal(mean, log_std.exp().expand(2, 5, 3)), 1)


def categorical(seed):
    logits = torch.randn(2, 5, 4, generator=Generator().manual_seed(seed)).double()
    return Categorical.from_logits(logits), TorchCategorical(logits=logits)


@pytest.mark.parametrize("make", [gaussian, categorical])
def test_densities_equal_those_of_torch(make):
    (ours, theirs), (ours2, theirs2) = make(0), make(1)
    action = ours.sample(Generator().manual_seed(2))
    assert (action.shape, action.dtype) == (theirs.sample().shape, theirs.sample().dtype)
    assert torch.equal(ours.mode(), theirs.mode)
    torch.testing.assert_close(ours.log_prob(action), theirs.log_prob(action))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    torch.testing.assert_close(ours.kl(ours2), torch_kl(theirs, theirs2))
    assert ours.kl(ours).abs().max() == 0


def test_squashed_densities_equal_those_of_torch():
    """As a transformed distribution of torch, in float64; entropy and KL by many samples."""
    inner, theirs = gaussian(0)
    other, _ = gaussian(1)
    middle, reach = torch.full((2, 5, 3), 0.5).double(), torch.full((2, 5, 3), 2.0).double()
    ours, second = (TanhGaussian(x.mean, x.log_std.expand(2, 5, 3), middle, reach) for x in (inner, other))
    moves = [TanhTransform(), AffineTransform(0.5, 2.0)]
    theirs = Independent(TransformedDistribution(theirs.base_dist, moves), 1)
    action = ours.sample(Generator().manual_seed(2))
    assert ((action > -1.5) & (action < 2.5)).all()
    torch.testing.assert_close(ours.log_prob(action), theirs.log_prob(action))
    many = ours.map(lambda x: x.expand(20_000, 2, 5, 3))
    drawn = many.sample(Generator().manual_seed(3))
    torch.testing.assert_close(ours.entropy(), -ours.log_prob(drawn).mean(0), atol=0.06, rtol=0)
    expected = (ours.log_prob(drawn) - second.log_prob(drawn)).mean(0)
    torch.testing.assert_close(ours.kl(second), expected, atol=0.15, rtol=0.03)
    torch.testing.assert_close(ours.mode(), 0.5 + 2 * inner.mean.tanh())


def test_squashed_samples_on_a_bound_have_a_finite_density():
    far = TanhGaussian(*(torch.tensor([[x]]) for x in (20.0, 0.0, 0.0, 1.0)))
    action = far.sample(Generator().manual_seed(0))
    assert action.item() == 1 and far.log_prob(action).isfinite()


def test_gaussian_samples_have_the_right_moments_and_come_from_the_generator_alone():
    distribution = DiagGaussian(torch.full((100_000, 1), 2.0), torch.tensor([[0.5]]).log())
    sample = distribution.sample(Generator().manual_seed(0))
    assert sample.mean().item() == pytest.approx(2, abs=0.01)
    assert sample.std().item() == pytest.approx(0.5, abs=0.01)
    torch.manual_seed(7)
    assert torch.equal(sample, distribution.sample(Generator().manual_seed(0)))
    assert not torch.equal(sample, distribution.sample(Generator().manual_seed(1)))


def test_categorical_samples_have_the_right_frequencies():
    p = torch.tensor([0.1, 0.2, 0.7])
    sample = Categorical.from_logits(p.log().expand(100_000, 3)).sample(Generator().manual_seed(0))
    torch.testing.assert_close(torch.bincount(sample) / 100_000, p, atol=0.01, rtol=0)


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24])
def test_an_action_of_probability_0_is_never_drawn(monkeypatch, uniform):
    """Also by the least and the largest random number that there is."""
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda x, generator: x.fill_(uniform))
    sums = torch.linspace(0.1, 0.9, 1000).unsqueeze(-1)  # of which some round to more or less than 1
    logits = torch.cat([sums * 0 - 1e9, sums, sums.square() - 3, sums * 0 - 1e9], -1)
    assert set(Categorical.from_logits(logits).sample(Generator()).tolist()) == {2 if uniform == 0 else 1}


def test_several_choices_are_a_product_of_categoricals():
    """Against torch's own, with choices of different sizes; in float64."""
    logits = [torch.randn(5, n, generator=Generator().manual_seed(n), dtype=torch.float64) for n in (3, 2)]
    ours, other = MultiCategorical.from_logits(logits), MultiCategorical.from_logits([x.flip(0) for x in logits])
    theirs = [torch.distributions.Categorical(logits=x) for x in logits]
    flipped = [torch.distributions.Categorical(logits=x.flip(0)) for x in logits]
    action = ours.sample(Generator().manual_seed(0))
    assert action.shape == (5, 2) and bool((action[:, 1] < 2).all())
    log_prob = sum(d.log_prob(a) for d, a in zip(theirs, action.unbind(-1), strict=True))
    torch.testing.assert_close(ours.log_prob(action), log_prob)
    torch.testing.assert_close(ours.entropy(), sum(d.entropy() for d in theirs))
    kl = sum(torch.distributions.kl_divergence(a, b) for a, b in zip(theirs, flipped, strict=True))
    torch.testing.assert_close(ours.kl(other), kl)
    assert torch.equal(ours.mode(), torch.stack([x.argmax(-1) for x in logits], -1))
