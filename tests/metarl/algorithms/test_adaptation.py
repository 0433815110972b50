"""Adaptation and its derivatives: the Jacobian's two products, and inner rates that are learned."""

from __future__ import annotations

import pytest
import torch
from plain_meta import group_of, moved, random_like, relative

from envs import InputError
from metarl.algorithms.adaptation import Rates
from metarl.algorithms.inner import ESTIMATORS

KINDS = ["none", "tensor", "step", "parameter"]


every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)


every_kind = pytest.mark.parametrize("kind", KINDS)


# --- The Jacobian and learned rates ------------------------------------------------------------------------------


@every_estimator
@every_kind
def test_jvp_and_vjp_are_transposes(build_problem, estimator, kind):
    problem = build_problem(estimator=estimator, num_inner_steps=3, learned_rates=kind)
    group = group_of(problem)
    for here in (group.here, group.at(moved(problem))):
        change = random_like(problem.algorithm.meta)
        at_adapted = random_like(problem.algorithm.params.expand(3, -1), seed=1)
        there = float((here.jvp(change)[-1] * at_adapted).sum())
        assert there == pytest.approx(float(change @ here.vjp([None, None, None, at_adapted])), rel=1e-10)


@every_kind
def test_the_jvp_is_how_adapted_parameters_move(build_problem, kind):
    problem = build_problem(estimator="dice", num_inner_steps=3, learned_rates=kind)
    group, meta = group_of(problem), problem.algorithm.meta
    direction = random_like(meta)

    def adapted(at):
        params, _ = problem.algorithm.rates.split(at)
        return params - sum(step.rate * step.gradient for step in group.at(at).steps)

    numeric = (adapted(meta + 1e-5 * direction) - adapted(meta - 1e-5 * direction)) / 2e-5
    assert relative(group.here.jvp(direction)[-1], numeric) < 1e-7


def test_learned_rates_leave_the_gradient_of_the_parameters_as_it_is(build_problem):
    """At equal rates, Meta-SGD's gradient is MAML's, followed by that of the rates."""
    fixed, tensor, step, parameter = (
        group_of(build_problem(inner_lr=0.25, num_inner_steps=2, learned_rates=kind)).gradient() for kind in KINDS
    )
    policy = build_problem().policy
    size, tensors = policy.num_parameters, policy.tensor_sizes
    assert (len(fixed), len(tensor), len(parameter)) == (size, size + len(tensors), 2 * size)
    for gradient in (tensor, step, parameter):
        assert relative(gradient[:size], fixed) < 1e-10
        assert float(gradient[size:].norm()) > 1e-3
    summed = torch.stack([part.sum() for part in parameter[size:].split(tensors)])
    assert relative(tensor[size:], summed) < 1e-10
    assert relative(0.25 * tensor[size:], step[size:].view(2, -1).sum(0)) < 1e-10


def test_rates_hold_parameters_and_rates_in_one_vector(build_problem):
    policy, params = build_problem().policy, build_problem().algorithm.params
    for kind, size in {"fixed": 0, "tensor": len(policy.tensor_sizes), "parameter": len(params)}.items():
        rates = Rates(kind, 0.3, policy)
        meta = rates.init(params)
        assert len(meta) == len(params) + size
        split, rate = rates.split(meta)
        assert torch.equal(split, params)
        assert rate == 0.3 if kind == "fixed" else torch.equal(rate, torch.full_like(params, 0.3))
    meta = Rates("tensor", 0.3, policy).init(params)
    meta[len(params) + 1] = 0.7
    start = policy.tensor_sizes[0]
    _, rate = Rates("tensor", 0.3, policy).split(meta)
    assert torch.equal(
        rate == 0.7, (torch.arange(len(params)) >= start) & (torch.arange(len(params)) < start + policy.tensor_sizes[1])
    )


def test_adapters_use_the_learned_rates(build_problem):
    """A rate of 0 keeps its parameter; the first step moves each in proportion to its own."""
    problem = build_problem(learned_rates="parameter", num_inner_steps=1)
    a, start, trajectory = problem.algorithm, problem.algorithm.params.expand(3, -1), problem.trajectories[0]
    before = a.adapters()[0](start, None, trajectory)[0] - start
    size = len(a.params)
    a.meta = torch.cat([a.params, a.meta[size:] * torch.arange(size)])
    after = a.adapters()[0](start, None, trajectory)[0] - start
    torch.testing.assert_close(after, before * torch.arange(size))
    torch.testing.assert_close(a.adapters(2, test=True)[1](start, None, trajectory)[0] - start, after / 2)


# --- What inner steps move ---------------------------------------------------------------------------------------


@every_kind
def test_inner_steps_of_the_head_leave_the_body_alone(build_problem, kind):
    problem = build_problem(adapt="head", learned_rates=kind)
    a, (adapt, *_) = problem.algorithm, problem.algorithm.adapters(3, test=True)
    start = a.params.expand(3, -1)
    after, _ = adapt(start, None, problem.trajectories[0])
    head = problem.policy.part("head")
    still = (after == start).all(0)
    assert still[: head.start].all() and not still[head].any()
    assert head.start == sum(problem.policy.tensor_sizes[:2])
    whole, _ = build_problem(learned_rates=kind).algorithm.adapters(1)[0](start, None, problem.trajectories[0])
    torch.testing.assert_close(after[:, head], whole[:, head])
    assert a.inner.inner_lr == pytest.approx(0.3)
    again, _ = a.inner.step(1.0, 0.3)(start, None, problem.trajectories[0])
    torch.testing.assert_close(again, after)


def test_each_step_has_rates_of_its_own_and_later_ones_the_last(build_problem):
    problem = build_problem(num_inner_steps=2, learned_rates="step")
    a, start = problem.algorithm, problem.algorithm.params.expand(3, -1)
    size = len(problem.policy.tensor_sizes)
    a.meta[-size:] = 2.0  # a factor of inner_lr
    moves = [adapt(start, None, problem.trajectories[0])[0] - start for adapt in a.adapters(4, test=True)]
    torch.testing.assert_close(moves[1], 2 * moves[0])
    assert torch.equal(moves[1], moves[2]) and torch.equal(moves[1], moves[3])


def test_a_part_that_is_not_there_is_refused(build_problem):
    with pytest.raises(InputError, match="context_size"):
        build_problem(adapt="context")
