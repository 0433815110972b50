"""Estimators of the meta-gradient and learned inner rates, against autograd through plainly written adaptation."""

from __future__ import annotations

import gc
import itertools
import weakref
from functools import partial

import pytest
import torch
from plain_meta import (
    average,
    group_of,
    moved,
    old_distributions,
    outer_advantage,
    outer_gradient,
    outer_loss,
    outer_stages,
    random_like,
    relative,
)

from metarl.algorithms.adaptation import Rates
from metarl.algorithms.inner import ESTIMATORS
from metarl.algorithms.objective import MetaObjective, TaskGroup

KINDS = ["none", "tensor", "step", "parameter"]


every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)


every_kind = pytest.mark.parametrize("kind", KINDS)


depths = pytest.mark.parametrize("depth", [1, 3])


@every_estimator
@depths
@every_kind
def test_the_meta_gradient_equals_autograd_through_adaptation(build_problem, estimator, depth, kind):
    problem = build_problem(estimator=estimator, num_inner_steps=depth, learned_rates=kind, entropy_coef=0.05)
    group, meta = group_of(problem), problem.algorithm.meta
    assert relative(group.gradient(), outer_gradient(problem, meta)) < 1e-10
    elsewhere = group.gradient(moved(problem))
    assert relative(elsewhere, outer_gradient(problem, moved(problem))) < 1e-10
    assert relative(elsewhere, group.gradient()) > 1e-3


@pytest.mark.parametrize("estimator", ["naive", "lvc", "dice"])
@depths
@every_kind
def test_the_meta_gradient_equals_finite_differences_of_evaluate(build_problem, estimator, depth, kind):
    problem = build_problem(estimator=estimator, num_inner_steps=depth, learned_rates=kind)
    group, meta = group_of(problem), problem.algorithm.meta
    direction = random_like(meta)
    up, down = (group.evaluate(meta + h * direction)[0] for h in (1e-5, -1e-5))
    assert float(group.gradient() @ direction) == pytest.approx(float(up - down) / 2e-5, rel=1e-5)


@pytest.mark.parametrize("estimator", ["naive", "lvc", "dice"])
def test_evaluate_equals_plain_adaptation_and_losses(build_problem, estimator):
    problem = build_problem(estimator=estimator, num_inner_steps=2, learned_rates="tensor")
    surrogate, kl, inner = outer_loss(problem, moved(problem).requires_grad_())
    group = group_of(problem)
    torch.testing.assert_close(group.evaluate(moved(problem)), torch.stack([surrogate, kl]).detach())
    torch.testing.assert_close(group.at(moved(problem)).inner_kl(), inner.detach())
    assert float(inner.detach()) > 1e-4


def test_first_order_tends_to_the_whole_gradient_as_the_inner_step_shrinks(build_problem):
    """What it leaves out is α times a Hessian: half of α, half of the error."""

    def error(inner_lr):
        rates = Rates("fixed", inner_lr, whole.policy)
        return relative(*(group_of(problem, rates=rates).gradient() for problem in (first, whole)))

    whole, first = build_problem(), build_problem(estimator="first-order")
    errors = [error(inner_lr) for inner_lr in (4e-3, 2e-3, 1e-3)]
    assert errors[0] > 1e-4
    assert [a / b for a, b in itertools.pairwise(errors)] == pytest.approx([2, 2], rel=0.02)


@every_estimator
@every_kind
def test_a_batch_of_tasks_equals_a_loop_over_them(build_problem, estimator, kind):
    problem = build_problem(estimator=estimator, num_inner_steps=2, learned_rates=kind)
    loop = [group_of(problem, slice(i, i + 1)) for i in range(3)]
    whole = group_of(problem)
    assert relative(whole.gradient(), sum(group.gradient() for group in loop)) < 1e-10
    direction = random_like(problem.algorithm.meta)
    curvature = sum(group.curvature()(direction) for group in loop)
    assert relative(whole.curvature()(direction), curvature) < 1e-10


@every_kind
@pytest.mark.parametrize("estimator", ["naive", "lvc", "dice"])
def test_curvature_equals_differences_of_the_kl_gradient(build_problem, kind, estimator):
    problem = build_problem(estimator=estimator, num_inner_steps=2, learned_rates=kind)
    meta = problem.algorithm.meta
    direction = random_like(meta)
    up, down = (outer_gradient(problem, meta + h * direction, index=1) for h in (1e-5, -1e-5))
    group = group_of(problem)
    assert relative(group.curvature()(direction), (up - down) / 2e-5) < 1e-6


# --- The objectives of PPO and ProMP -----------------------------------------------------------------------------


@every_estimator
def test_at_the_first_outer_step_all_ratios_are_1(build_problem, estimator):
    """There the surrogate's gradient is the policy gradient, clipped or not, and the inner KL has none."""
    problem = build_problem(estimator=estimator, num_inner_steps=2)
    group = group_of(problem)

    def policy_gradient(trajectory, advantage):
        return lambda distribution: -average(distribution.log_prob(trajectory.action) * advantage, trajectory.mask)

    pairs = zip(problem.trajectories, outer_stages(problem)[0], strict=True)
    expected = group.here.gradient([None if a is None else policy_gradient(t, a) for t, a in pairs])
    for clip in (0.0, 0.2, float("inf")):
        assert relative(group_of(problem, clip=clip).gradient(), expected) < 1e-12
    assert relative(group.gradient(), expected) < 1e-12
    assert relative(group.gradient(inner_kl_coef=10.0), expected) < 1e-10
    assert abs(float(group.at(problem.algorithm.meta).inner_kl())) < 1e-14


@every_kind
@pytest.mark.parametrize("estimator", ["lvc", "dice"])
def test_the_penalized_clipped_gradient_at_moved_parameters_equals_autograd(build_problem, kind, estimator):
    problem = build_problem(estimator=estimator, num_inner_steps=2, learned_rates=kind)
    meta = moved(problem, 0.1)
    clipped, free = (group_of(problem, clip=clip).gradient(meta, 0.5) for clip in (0.1, float("inf")))
    assert relative(clipped, outer_gradient(problem, meta, clip=0.1, inner_kl_coef=0.5)) < 1e-10
    assert relative(free, outer_gradient(problem, meta, inner_kl_coef=0.5)) < 1e-10
    assert relative(clipped, free) > 1e-2
    assert relative(free, outer_gradient(problem, meta)) > 1e-2


# --- Means over tasks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chunk_steps", "groups"), [(1, 3), (1000, 1)])
def test_the_objective_and_its_derivatives_are_means_over_tasks(build_problem, monkeypatch, chunk_steps, groups):
    monkeypatch.setattr("metarl.learning.rollout.CHUNK_STEPS", chunk_steps)
    problem = build_problem(estimator="lvc", num_inner_steps=2, learned_rates="tensor", entropy_coef=0.1)
    objective = problem.algorithm.objective(problem.algorithm.meta, problem.trajectories)
    assert len(objective.groups) == groups and objective.num_tasks == 3
    start, there = problem.algorithm.meta, moved(problem).requires_grad_()
    loss, kl, inner_kl = (x.detach() / 3 for x in outer_loss(problem, there))
    torch.testing.assert_close(objective.evaluate(there.detach()), torch.stack([loss, kl]))
    torch.testing.assert_close(objective.inner_kl(there.detach()), inner_kl)
    torch.testing.assert_close(objective.loss(), outer_loss(problem, start.clone().requires_grad_())[0].detach() / 3)
    assert relative(objective.gradient(), outer_gradient(problem, start) / 3) < 1e-10
    expected = outer_gradient(problem, there, inner_kl_coef=0.5) / 3
    assert relative(objective.gradient(there.detach(), 0.5), expected) < 1e-10
    old = old_distributions(problem)
    entropies = [average(d.entropy(), t.mask).mean() for d, t in zip(old, problem.trajectories, strict=True)]
    torch.testing.assert_close(objective.entropy(), torch.stack(entropies).mean())


@pytest.mark.parametrize(("num_episodes", "counted"), [(0, 4), (1, 1), (3, 3), (4, 4), (5, 4)])
def test_the_curvature_of_some_episodes_is_that_of_an_objective_on_them(build_problem, num_episodes, counted):
    problem = build_problem(num_inner_steps=2)
    a, vector = problem.algorithm, random_like(problem.algorithm.meta)
    group = partial(TaskGroup, a.policy, a.rates, a.loss, a.meta)
    some, advantage = [t[:, :, :counted] for t in problem.trajectories], outer_advantage(problem)[:, :, :counted]
    expected = MetaObjective(group, some, [None, None, advantage]).curvature()(vector)
    found = a.objective(a.meta, problem.trajectories).curvature(num_episodes)(vector)
    assert relative(found, expected) < 1e-12


def test_without_inner_steps_there_is_no_inner_divergence(build_problem):
    problem = build_problem()
    a = problem.algorithm
    objective = a.objective(a.meta, problem.trajectories[-1:])
    assert objective.inner_kl(a.meta) is None


def test_a_group_is_freed_without_the_cycle_collector(build_problem):
    """Its activations are large: waiting for a collection would keep those of several meta-iterations."""
    group = group_of(build_problem())
    group.curvature()(group.gradient())
    gone = weakref.ref(group)
    gc.disable()
    try:
        del group
        assert gone() is None
    finally:
        gc.enable()
