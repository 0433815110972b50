"""MAML's derivatives against automatic differentiation through adaptation, loops over tasks and finite differences."""

from __future__ import annotations

import copy

import pytest
import torch
from plain_meta import central_difference, group_of, outer_advantage, relative

from metarl.algorithms.inner import InnerLoss
from metarl.algorithms.outer import TRPOConfig
from metarl.learning import losses

SETTINGS = pytest.mark.parametrize("config", [{"num_inner_steps": 1}, {"num_inner_steps": 3}], ids=["K=1", "K=3"])


def plain_outer(problem, params, tasks=slice(None)):
    """Surrogate loss and KL [N] of adapted policies, by nothing but autograd: the readable form of the algorithm."""
    config = problem.algorithm.config
    *inner, outer = (t[tasks] for t in problem.trajectories)
    loss = InnerLoss(config.gamma, config.gae_lambda)

    def adapted(start, create_graph):
        theta = start.expand(len(outer), -1)
        for trajectory in inner:
            distribution, _ = problem.policy.bind(theta)(trajectory.inputs, None)
            value = loss.objective(trajectory)(distribution).sum()
            gradient = torch.autograd.grad(value, theta, create_graph=create_graph)[0]
            theta = theta - config.inner_lr * gradient
        return theta

    old_start = problem.algorithm.params.clone().requires_grad_()
    old, _ = problem.policy.bind(adapted(old_start, False).detach())(outer.inputs, None)
    new, _ = problem.policy.bind(adapted(params, config.estimator != "first-order"))(outer.inputs, None)
    advantage = outer_advantage(problem)[tasks]
    surrogate = losses.surrogate(new, outer.action, advantage, outer.mask, old.log_prob(outer.action))
    return surrogate, losses.kl_divergence(old, new, outer.mask)


@SETTINGS
@pytest.mark.parametrize("estimator", ["naive", "first-order"])
def test_meta_gradient_equals_autograd_through_adaptation(build_problem, config, estimator):
    problem = build_problem(**config, estimator=estimator)
    params = problem.algorithm.params.clone().requires_grad_()
    expected = torch.autograd.grad(plain_outer(problem, params)[0].sum(), params)[0]
    assert relative(group_of(problem).gradient(), expected) < 1e-10


def test_second_order_differs_from_first_order(build_problem):
    second, first = (group_of(build_problem(estimator=e)).gradient() for e in ("naive", "first-order"))
    assert relative(second, first) > 1e-2


@SETTINGS
def test_batched_meta_gradient_equals_a_loop_over_tasks(build_problem, config):
    problem = build_problem(**config)
    loop = sum(group_of(problem, slice(i, i + 1)).gradient() for i in range(3))
    assert relative(group_of(problem).gradient(), loop) < 1e-10


@SETTINGS
def test_meta_gradient_equals_finite_differences_of_the_post_adaptation_loss(build_problem, config):
    problem = build_problem(**config)
    group = group_of(problem)
    gradient = group.gradient()
    for seed in range(3):
        direction = torch.randn(len(gradient), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        numeric = central_difference(lambda p: group.evaluate(p)[0], problem.algorithm.params, direction, 1e-5)
        assert float(gradient @ direction) == pytest.approx(float(numeric), rel=1e-5)


def test_first_order_is_the_gradient_at_the_adapted_parameters(build_problem):
    """With the inner Jacobian taken as the identity, the meta-gradient is the outer gradient where adaptation led."""
    problem = build_problem(num_inner_steps=3, estimator="first-order")
    group = group_of(problem)
    assert relative(group.gradient(), group.here.outer.gradient(group.stages[-1].surrogate).sum(0)) < 1e-12


@SETTINGS
def test_evaluate_equals_plain_adaptation_and_losses(build_problem, config):
    problem = build_problem(**config)
    moved = (problem.algorithm.params + 0.1).requires_grad_()
    surrogate, kl = plain_outer(problem, moved)
    torch.testing.assert_close(
        group_of(problem).evaluate(moved.detach()), torch.stack([surrogate.sum(), kl.sum()]).detach()
    )
    assert float(kl.detach().sum()) > 1e-4


@SETTINGS
def test_curvature_equals_differences_of_the_kl_gradient(build_problem, config):
    problem = build_problem(**config)
    group = group_of(problem)

    def kl_gradient(at):
        leaf = at.clone().requires_grad_()
        return torch.autograd.grad(plain_outer(problem, leaf)[1].sum(), leaf)[0]

    params = problem.algorithm.params
    assert kl_gradient(params).norm() < 1e-12
    direction = torch.randn(len(params), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    numeric = central_difference(kl_gradient, params, direction, 1e-5)
    assert relative(group.curvature()(direction), numeric) < 1e-6


def test_update_lowers_the_surrogate_within_the_trust_region(build_problem):
    problem = build_problem()
    algorithm, before = problem.algorithm, problem.algorithm.params.clone()
    group = group_of(problem)
    metrics = algorithm.update(problem.trajectories)
    surrogate, kl = (group.evaluate(algorithm.params) / 3).tolist()
    assert metrics["step"] > 0 and not torch.equal(algorithm.params, before)
    assert surrogate < float(group.outer(group.old)[0] / 3)
    assert 0 < kl <= algorithm.config.outer.max_kl
    assert (metrics["loss"], metrics["kl"]) == pytest.approx((surrogate, kl))


def test_groups_of_tasks_change_the_update_by_rounding_alone(build_problem, monkeypatch):
    whole, split = build_problem(), build_problem()
    whole.algorithm.update(whole.trajectories)
    monkeypatch.setattr("metarl.learning.rollout.CHUNK_STEPS", 1)
    split.algorithm.update(split.trajectories)
    assert relative(split.algorithm.params, whole.algorithm.params) < 1e-9
    before, by_threads = torch.get_num_threads(), build_problem()
    torch.set_num_threads(2)
    try:
        by_threads.algorithm.update(by_threads.trajectories)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(by_threads.algorithm.params, split.algorithm.params), "a group is computed by one thread"


def test_curvature_of_some_episodes_gives_another_step_within_the_trust_region(build_problem):
    whole, some, all_of_them = (build_problem(outer=TRPOConfig(curvature_episodes=k)) for k in (0, 3, 4))
    metrics = [problem.algorithm.update(problem.trajectories) for problem in (whole, some, all_of_them)]
    assert torch.equal(whole.algorithm.params, all_of_them.algorithm.params)
    assert relative(some.algorithm.params, whole.algorithm.params) > 1e-3
    assert metrics[1]["step"] > 0 and metrics[1]["kl"] <= some.algorithm.config.outer.max_kl
    assert metrics[1]["grad_norm"] == metrics[0]["grad_norm"], "the gradient uses every episode"


def test_nothing_to_learn_leaves_the_parameters_alone(build_problem):
    problem = build_problem()
    flat = [copy.copy(t) for t in problem.trajectories]
    for trajectory in flat:
        trajectory.reward.zero_()
    before = problem.algorithm.params.clone()
    metrics = problem.algorithm.update(flat)
    assert torch.equal(problem.algorithm.params, before)
    assert metrics["step"] == 0


def moves(problem, adapters):
    """How far each adapter moves the parameters [N, P] on the first trajectory."""
    start = problem.algorithm.params.expand(3, -1)
    return [adapt(start, None, problem.trajectories[0])[0] - start for adapt in adapters]


def test_adapters_halve_the_rate_after_the_first_step_at_test_only(build_problem):
    problem = build_problem()
    train, test = (moves(problem, problem.algorithm.adapters(2, test=test)) for test in (False, True))
    plain = -0.3 * group_of(problem).here.steps[0].gradient
    for move, factor in zip((*train, *test), (1, 1, 1, 0.5), strict=True):
        torch.testing.assert_close(move, factor * plain)


def test_the_inner_step_takes_other_rates(build_problem):
    problem = build_problem(learned_rates="tensor")
    inner, count = problem.algorithm.inner, problem.policy.num_parameters
    (once,) = moves(problem, problem.algorithm.adapters(1))
    (twice,), (other,) = (moves(problem, [inner.step(*rates)]) for rates in ((2.0, None), (1.0, 0.06)))
    torch.testing.assert_close(twice, 2 * once)
    torch.testing.assert_close(other, 0.2 * once)
    problem.algorithm.meta[count::2] *= -1
    assert problem.algorithm.inner.inner_lr == pytest.approx(0.3)


def test_a_meta_iteration_plays_as_many_rounds_as_the_configuration_says(build_problem):
    problem = build_problem(num_inner_steps=2)
    task = problem.env.sample_tasks(2, problem.generator)
    problem.algorithm.meta = problem.algorithm.meta.float()
    rounds = problem.algorithm.collect(problem.env, task, 1, problem.generator)
    assert len(rounds) == problem.algorithm.config.rounds == 3


@pytest.mark.parametrize("kind", ["none", "tensor"])
def test_learned_rates_are_logged(build_problem, kind):
    problem = build_problem(learned_rates=kind)
    metrics = problem.algorithm.update(problem.trajectories)
    rates = problem.algorithm.meta[problem.policy.num_parameters :]
    assert metrics.get("mean_rate") == (pytest.approx(float(rates.mean())) if kind == "tensor" else None)


def test_a_state_goes_on_with_its_value_network_and_fits_no_other_policy(build_problem):
    one, other = (build_problem(baseline="value") for _ in range(2))
    one.algorithm.update(one.trajectories)
    other.algorithm.load_state_dict(one.algorithm.state_dict())
    assert torch.equal(other.algorithm.value(one.trajectories[0]), one.algorithm.value(one.trajectories[0]))
    state = one.algorithm.state_dict()
    with pytest.raises(ValueError, match="parameters"):
        other.algorithm.load_state_dict({**state, "params": state["params"][1:]})
