"""Inner losses and steps."""

from __future__ import annotations

import torch
from plain_meta import central_difference, random_like, relative

from metarl.algorithms.inner import ESTIMATORS, InnerLoss
from metarl.learning.linearize import linearize


def test_inner_losses_share_their_gradient_where_the_data_were_collected_and_differ_in_their_hessian(build_problem):
    problem = build_problem()
    trajectory = problem.trajectories[0]
    params = problem.algorithm.params.expand(3, -1)
    here = linearize(problem.policy, params, trajectory.inputs)
    old_log_prob = here.distribution.detach().log_prob(trajectory.action)
    vector = random_like(params)
    gradients, products = {}, {}
    for estimator in ESTIMATORS:
        objective = InnerLoss(0.97, 0.9, estimator, entropy_coef=0.1).objective(trajectory, old_log_prob)
        gradients[estimator], product = here.hessian(objective)
        products[estimator] = product(vector)
    assert all(relative(g, gradients["naive"]) < 1e-12 for g in gradients.values())
    for a, b in (("naive", "lvc"), ("naive", "dice"), ("lvc", "dice")):
        assert relative(products[a], products[b]) > 1e-2


def test_inner_hessian_product_equals_differences_of_inner_gradients(build_problem):
    problem = build_problem()
    trajectory = problem.trajectories[0]
    objective = InnerLoss(0.97, 0.9).objective(trajectory)
    params = problem.algorithm.params.expand(3, -1)
    direction = torch.randn(params.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def gradient(at):
        return linearize(problem.policy, at, trajectory.inputs).gradient(objective)

    _, product = linearize(problem.policy, params, trajectory.inputs).hessian(objective)
    assert relative(product(direction), central_difference(gradient, params, direction, 1e-5)) < 1e-7


def test_adapters_halve_the_rate_after_the_first_step_at_test_only(build_problem):
    """The change that a step makes is linear in its rate."""
    problem = build_problem(num_inner_steps=2)
    params, trajectory = problem.algorithm.params.expand(3, -1), problem.trajectories[0]
    train = [adapt(params, None, trajectory)[0] - params for adapt in problem.algorithm.adapters()]
    test = [adapt(params, None, trajectory)[0] - params for adapt in problem.algorithm.adapters(3, test=True)]
    torch.testing.assert_close(train[0], train[1])
    torch.testing.assert_close(test[0], train[0])
    torch.testing.assert_close(test[1], train[0] / 2)
    torch.testing.assert_close(test[2], train[0] / 2)
