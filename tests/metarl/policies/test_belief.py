"""The belief's model in float64: KL and ELBO against Monte-Carlo estimates, subsampling without bias."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator
from torch.distributions import Normal, kl_divergence

from metarl.policies.belief import Belief, Decoder, Encoder, Targets, elbo_loss, kl_to_previous

STEPS, LATENTS = 4, 2


def normal(*shape, seed=0):
    return torch.randn(shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def beliefs(trials=3):
    return Belief(normal(trials, STEPS, LATENTS), 0.5 * normal(trials, STEPS, LATENTS, seed=1))


def model(trials=3):
    torch.manual_seed(0)
    decoder = Decoder(LATENTS, 3, 1, 8).double()
    mask = torch.ones(trials, STEPS, dtype=torch.float64)
    mask[0, 2] = 0
    return decoder, Targets(normal(trials, STEPS, 3, seed=2), normal(trials, STEPS, 1, seed=3), mask)


def exact_loss(belief, decoder, targets, samples):
    """-Σ_t ELBO_t / T² of each trial, by loops over trials, steps and samples of torch's distributions; nothing is
    decoded from a belief in padding."""
    losses = []
    for b in range(len(targets)):
        total = torch.zeros((), dtype=torch.float64)
        before = Normal(torch.zeros(LATENTS, dtype=torch.float64), torch.ones(LATENTS, dtype=torch.float64))
        for t in range(STEPS):
            now = Normal(belief.mean[b, t], (belief.log_variance[b, t] / 2).exp())
            latent = now.loc + now.scale * samples[:, t]
            found = decoder(latent.unsqueeze(0), targets.seen[b : b + 1])[0, ..., 0]  # [M, T]
            likely = Normal(found, math.sqrt(0.5)).log_prob(targets.target[b, :, 0]) + math.log(math.pi) / 2
            total = total - (likely * targets.mask[b]).sum(-1).mean() * targets.mask[b, t]
            total = total + kl_divergence(now, before).sum()
            before = now
        losses.append(total / STEPS**2)
    return torch.stack(losses)


def test_the_kl_is_to_the_belief_before_and_of_the_first_to_the_prior():
    belief = beliefs()
    now = Normal(belief.mean, (belief.log_variance / 2).exp())
    for t in range(STEPS):
        zero = torch.zeros(3, LATENTS, dtype=torch.float64)
        before = Normal(now.loc[:, t - 1], now.scale[:, t - 1]) if t else Normal(zero, zero + 1)
        expected = kl_divergence(Normal(now.loc[:, t], now.scale[:, t]), before).sum(-1)
        torch.testing.assert_close(kl_to_previous(belief)[:, t], expected)


def test_the_loss_and_its_gradient_are_those_of_a_monte_carlo_estimate():
    """With the same noise to rounding, and in the mean of 20,000 samples to three standard errors of other ones."""
    belief, (decoder, targets), whole = beliefs(), model(), torch.arange(STEPS)
    belief = belief.map(lambda x: x.requires_grad_())
    noise = normal(1, STEPS, LATENTS, seed=5)
    loss, _ = elbo_loss(belief, [decoder], [targets], targets.mask, noise.expand(3, -1, -1), whole, whole, 1.0)
    expected = exact_loss(belief, decoder, targets, noise)
    torch.testing.assert_close(loss, expected)
    inputs = [belief.mean, belief.log_variance, *decoder.parameters()]
    pairs = zip(*(torch.autograd.grad(x.sum(), inputs) for x in (loss, expected)), strict=True)
    for found, right in pairs:
        torch.testing.assert_close(found, right)
    many = 20_000
    rows = belief[:1].map(lambda x: x.detach().expand(many, -1, -1))
    repeated = targets[:1].map(lambda x: x.expand(many, *x.shape[1:]))
    with torch.no_grad():
        found, _ = elbo_loss(
            rows, [decoder], [repeated], repeated.mask, normal(many, STEPS, LATENTS, seed=6), whole, whole, 1.0
        )
        right = exact_loss(belief[:1], decoder, targets[:1], normal(many, STEPS, LATENTS, seed=7))
    error = float(found.std()) * math.sqrt(2 / many)
    assert float(found.mean()) == pytest.approx(float(right), abs=3 * error) and error < 0.02 * float(right)


@torch.no_grad()
def test_some_steps_stand_for_all_without_bias():
    """The mean over all pairs of a belief and a decoded step is the whole."""
    belief, (decoder, targets), whole = beliefs(), model(), torch.arange(STEPS)
    noise = normal(3, STEPS, LATENTS, seed=5)
    expected, sums = elbo_loss(belief, [decoder], [targets], targets.mask, noise, whole, whole, 0.7)
    parts = [
        elbo_loss(
            belief, [decoder], [targets], targets.mask, noise[:, at : at + 1], whole[at : at + 1], whole[d : d + 1], 0.7
        )
        for at in range(STEPS)
        for d in range(STEPS)
    ]
    torch.testing.assert_close(torch.stack([loss for loss, _ in parts]).mean(0), expected)
    assert sums[:, 1].tolist() == [3 * 3, STEPS * STEPS, STEPS * STEPS], "padding is not counted"
    torch.testing.assert_close(torch.stack([s for _, s in parts])[:, :, :2].sum(0), sums[:, :2])


def test_step_by_step_the_encoder_is_what_it_is_at_once():
    torch.manual_seed(0)
    encoder, x = Encoder(3, 8, LATENTS), torch.randn(5, 7, 3)
    whole, hidden = encoder(x), torch.zeros(5, 8)
    for t in range(7):
        belief, hidden = encoder.step(x[:, t], hidden)
        torch.testing.assert_close(belief.features("std"), whole.features("std")[:, t], atol=1e-5, rtol=1e-5)
