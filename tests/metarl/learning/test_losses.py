"""Losses by hand."""

from __future__ import annotations

import math

import pytest
import torch

from metarl.learning import losses
from metarl.policies.distributions import Categorical


def test_the_policy_gradient_and_the_surrogate_by_hand():
    """Probabilities 0.2 and 0.6 of the actions taken, 0.1 and 0.5 of old; a third step is padding."""
    p = torch.tensor([0.2, 0.6, 0.9], dtype=torch.float64)
    distribution = Categorical(torch.stack([p, 1 - p], -1).log().view(1, 3, 1, 2))
    action = torch.zeros(1, 3, 1, dtype=torch.int64)
    advantage, mask, old = (
        torch.tensor(x, dtype=torch.float64).view(1, 3, 1) for x in ([3.0, -0.5, 7.0], [1, 1, 0], [0.1, 0.5, 0.5])
    )
    expected = -(math.log(0.2) * 3 + math.log(0.6) * -0.5) / 2
    assert losses.policy_gradient(distribution, action, advantage, mask).item() == pytest.approx(expected)
    expected = -(0.2 / 0.1 * 3 + 0.6 / 0.5 * -0.5) / 2
    assert losses.surrogate(distribution, action, advantage, mask, old.log()).item() == pytest.approx(expected)


def test_the_clipped_surrogate_by_hand():
    """Ratios 1.5, 1.5, 0.5, 0.5 and 1.1 with advantages of both signs and clip 0.2; a sixth step is padding."""
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1, 9.0], dtype=torch.float64)
    advantage = torch.tensor([2.0, -2.0, 2.0, -2.0, 1.0, 5.0], dtype=torch.float64)
    mask = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    old = torch.full((6,), 0.1, dtype=torch.float64).log()
    p = 0.1 * ratio
    logits = torch.stack([p, 1 - p], -1).log().view(1, 6, 1, 2).requires_grad_()
    action = torch.zeros(1, 6, 1, dtype=torch.int64)
    steps = [x.view(1, 6, 1) for x in (advantage, mask, old)]
    distribution = Categorical(logits)  # these log-probabilities as they stand
    loss = losses.clipped_surrogate(distribution, action, *steps, clip=0.2)
    assert loss.item() == pytest.approx(-(1.2 * 2 - 1.5 * 2 + 0.5 * 2 - 0.8 * 2 + 1.1) / 5)
    gradient = torch.autograd.grad(loss.sum(), logits)[0][0, :, 0, 0]
    assert gradient.tolist() == pytest.approx([0, 3 / 5, -1 / 5, 0, -1.1 / 5, 0])  # -ratio * advantage where it counts
    free = losses.clipped_surrogate(distribution, action, *steps, clip=math.inf)
    torch.testing.assert_close(free, losses.surrogate(distribution, action, *steps))


def dice_problem():
    """A softmax policy with shared weights θ [4] on T = 4 steps of 3 lanes, the second of which ends after two."""
    generator = torch.Generator().manual_seed(0)
    features, reward, baseline = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((4, 3, 3, 4), (4, 3), (4, 3))
    )
    action = torch.randint(0, 3, (1, 4, 3), generator=generator)
    mask = torch.ones(4, 3, dtype=torch.float64)
    mask[2:, 1] = 0
    theta = torch.randn(4, generator=generator, dtype=torch.float64)
    return theta, features, action, reward * mask, baseline, mask


def test_dice_has_the_derivatives_of_the_magic_box_with_a_baseline():
    """Foerster et al. 2018, eq. 6, with the baseline for any order of Mao et al. 2019: rewards are weighted by the
    magic box of all actions so far, baselines by the box of earlier actions minus that."""
    theta, features, action, reward, baseline, mask = dice_problem()

    def magic_box(theta):
        log_prob = torch.log_softmax(features @ theta, -1).gather(-1, action[0].unsqueeze(-1)).squeeze(-1)
        total = 0.0
        for lane in range(3):
            so_far = torch.zeros((), dtype=torch.float64)
            for t in range(int(mask[:, lane].sum())):
                before = (so_far - so_far.detach()).exp()
                so_far = so_far + log_prob[t, lane]
                now = (so_far - so_far.detach()).exp()
                total = total + reward[t, lane] * now + baseline[t, lane] * (before - now)
        return -total / mask.sum()

    togo = reward.flip(0).cumsum(0).flip(0)
    advantage = ((togo - baseline) * mask).unsqueeze(0)
    old = torch.log_softmax(features @ theta, -1).unsqueeze(0)

    def dice(theta, action=action, padding=0.0):
        distribution = Categorical.from_logits((features @ theta).unsqueeze(0))
        old_log_prob = Categorical(old).log_prob(action) + padding * (1 - mask)
        return losses.dice(distribution, action, advantage, mask.unsqueeze(0), old_log_prob).sum()

    def derivatives(function):
        leaf = theta.clone().requires_grad_()
        return (
            torch.autograd.grad(function(leaf), leaf)[0],
            torch.autograd.functional.hessian(function, theta),
        )

    for ours, theirs in zip(derivatives(dice), derivatives(magic_box), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert float(dice(theta)) == pytest.approx(-float(advantage.sum() / mask.sum()))
    padded = action.clone()
    padded[0, 2:, 1] = (padded[0, 2:, 1] + 1) % 3
    for ours, other in zip(derivatives(dice), derivatives(lambda x: dice(x, padded)), strict=True):
        assert torch.equal(ours, other), "actions after the end must not enter"
    for ours, other in zip(derivatives(dice), derivatives(lambda x: dice(x, padding=-1e4)), strict=True):
        assert torch.equal(ours, other), "nor ratios after the end that overflow"
