"""Targets and losses of soft actor-critic by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, nn

from metarl.learning.sac import TwinQ, actor_loss, critic_loss, critic_target, descend, draw, follow
from metarl.policies.distributions import TanhGaussian


def test_the_critics_target_by_hand():
    reward, terminated = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 1.0]])
    values = torch.tensor([[3.0, 9.0]]), torch.tensor([[5.0, 9.0]])
    found = critic_target(reward, terminated, values, torch.tensor([[-0.5, 7.0]]), torch.tensor(0.2), 0.9)
    torch.testing.assert_close(found, torch.tensor([[1 + 0.9 * (3 + 0.2 * 0.5), 2.0]]))


def test_losses_by_hand():
    values = torch.tensor([[1.0, 4.0]]), torch.tensor([[2.0, 2.0]])
    assert critic_loss(values, torch.tensor([[1.0, 2.0]])).item() == pytest.approx((0 + 4) / 2 + (1 + 0) / 2)
    loss = actor_loss(values, torch.tensor([[-1.0, 2.0]]), torch.tensor(0.5))
    assert loss.item() == pytest.approx(((-0.5 - 1) + (1 - 2)) / 2)


def test_a_drawn_action_has_its_density_between_minus_one_and_one():
    mean, log_std = torch.randn(7, 3), 0.1 * torch.randn(7, 3)
    wide = TanhGaussian(mean, log_std, torch.full((7, 3), 5.0), torch.full((7, 3), 2.0))
    unit = TanhGaussian(mean, log_std, torch.zeros(7, 3), torch.ones(7, 3))
    action, log_prob = draw(wide, Generator().manual_seed(0))
    assert torch.equal(action, unit.sample(Generator().manual_seed(0)))
    torch.testing.assert_close(log_prob, unit.log_prob(action), rtol=1e-3, atol=1e-3)


def test_targets_follow_and_a_step_moves_what_it_should():
    torch.manual_seed(0)
    critic, target = TwinQ(lambda: nn.Linear(3, 1)), TwinQ(lambda: nn.Linear(3, 1))
    before = [x.clone() for x in target.parameters()]
    follow(target, critic, 0.25)
    for old, new, goal in zip(before, target.parameters(), critic.parameters(), strict=True):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * goal)
    own = [x.clone() for x in critic.parameters()]
    obs = torch.ones(1, 1)
    learned = list(critic.first.parameters())
    descend(torch.optim.SGD(learned, 0.1), sum(critic(obs, obs, obs)).sum(), learned)
    moved = [not torch.equal(a, b) for a, b in zip(own, critic.parameters(), strict=True)]
    assert moved == [True, True, False, False]
