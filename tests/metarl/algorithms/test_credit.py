"""What stages count in the outer objective: against autograd, and by hand."""

from __future__ import annotations

import pytest
import torch
from plain_meta import group_of, moved, outer_gradient, outer_loss, outer_stages, random_like, relative

from metarl.algorithms.credit import history, later_credit, mean_reward, stage_weights


@pytest.mark.parametrize(
    ("stages", "weights"), [("last", [0, 0, 0, 1]), ("adapted", [0, 1 / 3, 1 / 3, 1 / 3]), ("all", [1 / 4] * 4)]
)
def test_weights_of_the_stages(stages, weights):
    assert stage_weights(stages, 4) == pytest.approx(weights)
    assert stage_weights(stages, 1) == [1], "without inner steps there is one stage"


SETTINGS = pytest.mark.parametrize(
    "config",
    [
        {"outer_stages": "all"},
        {"outer_stages": "adapted", "estimator": "lvc", "learned_rates": "step"},
        {"outer_stages": "all", "estimator": "e-maml", "outer_baseline": "batch", "baseline": "constant"},
        {"outer_stages": "last", "estimator": "e-maml", "adapt": "head", "learned_rates": "tensor"},
        {"outer_stages": "all", "estimator": "dice", "adapt": "head", "inner_scale": "none", "inner_lr": 0.05},
    ],
    ids=["all", "adapted", "e-maml of all", "e-maml of the head", "dice of the head"],
)


@SETTINGS
def test_the_gradient_and_the_curvature_over_several_stages_equal_autograd(build_problem, config):
    problem = build_problem(num_inner_steps=2, entropy_coef=0.05, **config)
    group, meta, there = group_of(problem), problem.algorithm.meta, moved(problem)
    assert relative(group.gradient(), outer_gradient(problem, meta)) < 1e-10
    assert relative(group.gradient(there, 0.5), outer_gradient(problem, there, inner_kl_coef=0.5)) < 1e-10
    clipped = group_of(problem, clip=0.1).gradient(there)
    assert relative(clipped, outer_gradient(problem, there, clip=0.1)) < 1e-10
    loss, kl, _ = outer_loss(problem, there.requires_grad_())
    torch.testing.assert_close(group.evaluate(there.detach()), torch.stack([loss, kl]).detach())
    direction = random_like(meta)
    up, down = (outer_gradient(problem, meta + h * direction, index=1) for h in (1e-5, -1e-5))
    assert relative(group.curvature()(direction), (up - down) / 2e-5) < 1e-6
    loop = sum(group_of(problem, slice(i, i + 1)).gradient() for i in range(3))
    assert relative(group.gradient(), loop) < 1e-10


def test_every_stage_counts_in_one_unit(build_problem):
    """A reward is worth the same in each stage, so that their sum is the return of the trial."""
    problem = build_problem(num_inner_steps=2, outer_stages="all", outer_scale="batch")
    before, _ = outer_stages(problem)
    problem.trajectories[0].reward.mul_(10)
    after, _ = outer_stages(problem)
    ratios = [float(b.norm() / a.norm()) for a, b in zip(before, after, strict=True)]
    assert ratios[1] == pytest.approx(ratios[2]) and ratios[0] == pytest.approx(10 * ratios[1])
    pairs = zip(after, problem.trajectories, strict=True)
    total = sum(float((a.square().sum((1, 2)) / t.mask.sum((1, 2))).mean()) for a, t in pairs)
    assert total == pytest.approx(1 / 3), "the variance of advantages is 1, and a stage's weight is a third"


def test_credit_is_what_later_stages_earn_beyond_what_was_known_before_the_action(build_problem):
    trajectories = build_problem(num_inner_steps=2, num_tasks=12).trajectories
    first, second = later_credit(trajectories, [0.0, 0.5, 0.5])
    later = 0.5 * (mean_reward(trajectories[1]) + mean_reward(trajectories[2]))
    each = [(c / t.mask.sum((1, 2), keepdim=True)) for c, t in zip((first, second), trajectories[:2], strict=True)]
    known = later.view(-1, 1, 1) - each[0]
    mask = trajectories[0].mask
    assert abs(float((each[0] * mask).sum())) < 1e-3 * float((each[0] * mask).abs().sum()), (
        "the baseline is a least-squares fit"
    )
    start = known[:, 0]
    assert torch.allclose(start, start[:1].expand_as(start)), "before the first action nothing is known"
    worse = [t.map(torch.clone) for t in trajectories]
    worse[2].reward.sub_(3 * worse[2].mask)
    after = later_credit(worse, [0.0, 0.5, 0.5])
    assert relative(after[0], first) < 0.02, "the same for all tasks: nothing that actions are credited for"
    worse[2].reward[0] -= worse[2].mask[0]
    after = later_credit(worse, [0.0, 0.5, 0.5])
    assert float((after[1] - second)[0].sum()) < 0 < float((after[1] - second)[1:].sum())


def test_what_a_step_follows_on_holds_no_reward_of_its_own_or_later(build_problem):
    trajectories = build_problem(num_inner_steps=1).trajectories
    before = history(trajectories, 1)
    trajectories[1].reward[:, 3:] += 5
    after = history(trajectories, 1)
    torch.testing.assert_close(after[:, :4], before[:, :4])
    assert not torch.allclose(after[:, 4:], before[:, 4:])
    torch.testing.assert_close(before[:, 0, 0, 0], mean_reward(trajectories[0]))
