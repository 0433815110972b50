"""Losses of the outer step by hand, and Adam's outer steps against torch's Adam on plainly written gradients."""

from __future__ import annotations

import math

import pytest
import torch
from plain_meta import FEW_ITERATIONS, assert_same_step, outer_gradient, outer_loss, relative

from envs import InputError
from metarl.algorithms.maml import MAMLConfig
from metarl.algorithms.outer import AdamConfig, TRPOConfig, natural_gradient_step

PROMP = {"estimator": "lvc", "num_inner_steps": 2}


@pytest.mark.parametrize("estimator", ["naive", "lvc", "dice"])
def test_what_follows_an_end_does_not_enter(build_problem, estimator):
    problem, other = (build_problem(estimator=estimator, num_inner_steps=2, learned_rates="tensor") for _ in range(2))
    for trajectory in other.trajectories:
        over = trajectory.mask == 0
        trajectory.action[over] += 3.0
        trajectory.obs[over] -= 2.0
    for one in (problem, other):
        one.algorithm.update(one.trajectories)
    torch.testing.assert_close(other.algorithm.meta, problem.algorithm.meta, rtol=1e-9, atol=1e-12)


# --- TRPO --------------------------------------------------------------------------------------------------------


def full_step(problem):
    """The step [M] before the line search, its numbers, and the damped Fisher matrix [M, M] by nothing but autograd."""
    algorithm, config = problem.algorithm, problem.algorithm.config.outer
    step, numbers = natural_gradient_step(algorithm.objective(algorithm.meta, problem.trajectories), config)
    fisher = torch.autograd.functional.hessian(lambda meta: outer_loss(problem, meta)[1] / 3, algorithm.meta)
    return step, numbers.tolist(), fisher + config.cg_damping * torch.eye(len(step), dtype=step.dtype)


@pytest.mark.parametrize("max_kl", [0.01, 0.04])
def test_the_full_step_is_the_natural_gradient_of_the_length_that_the_trust_region_allows(build_problem, max_kl):
    """s = sqrt(2 max_kl / gᵀF⁻¹g) F⁻¹g."""
    problem = build_problem(outer=TRPOConfig(max_kl, cg_iterations=300, cg_damping=0.01), num_inner_steps=2)
    step, (grad_norm, loss, _), fisher = full_step(problem)
    meta = problem.algorithm.meta.clone().requires_grad_()
    gradient = outer_gradient(problem, meta) / 3
    direction = torch.linalg.solve(fisher, gradient)
    assert relative(step, math.sqrt(2 * max_kl / float(gradient @ direction)) * direction) < 1e-3
    assert (grad_norm, loss) == pytest.approx(
        (float(gradient.norm()), float(outer_loss(problem, meta)[0].detach()) / 3)
    )


@pytest.mark.parametrize("cg_iterations", [1, 3, 300])
def test_however_good_its_direction_a_full_step_ends_where_the_quadratic_model_of_the_kl_is_max_kl(
    build_problem, cg_iterations
):
    problem = build_problem(outer=TRPOConfig(0.03, cg_iterations, cg_damping=0.01))
    step, _, fisher = full_step(problem)
    assert float(step @ fisher @ step) / 2 == pytest.approx(0.03, rel=1e-6)


def shuffled(trajectory):
    """The same experience with tasks and episodes in another order: sums over them differ in their last bits."""
    return trajectory[[2, 0, 1]][:, :, [3, 1, 0, 2]]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_step_depends_on_the_order_of_sums_by_rounding_alone(build_problem, seed):
    one, other = (build_problem(seed=seed, num_inner_steps=2, outer=FEW_ITERATIONS) for _ in range(2))
    assert_same_step(one, other, [shuffled(t) for t in other.trajectories])


# --- Adam --------------------------------------------------------------------------------------------------------


def plain_adam(problem, outer, meta):
    """Meta-parameters after one update by torch's Adam, and the inner KL there."""
    leaf = meta.clone().requires_grad_()
    adam = torch.optim.Adam([leaf], outer.outer_lr)
    clip = outer.clip if outer.objective == "clip" else None
    for _ in range(outer.num_outer_steps):
        leaf.grad = outer_gradient(problem, leaf, clip=clip, inner_kl_coef=outer.inner_kl_coef) / 3
        adam.step()
    return leaf.detach()


@pytest.mark.parametrize(
    "outer",
    [
        AdamConfig("vpg", 0.01, 1),
        AdamConfig(num_outer_steps=1),
        AdamConfig(outer_lr=0.03, clip=0.1),
        AdamConfig(outer_lr=0.03, num_outer_steps=3, inner_kl_coef=0.5),
    ],
    ids=["vpg", "one step", "ppo", "promp"],
)
@pytest.mark.parametrize("kind", ["none", "parameter"])
def test_an_update_equals_torch_adam_on_plain_gradients(build_problem, outer, kind):
    problem = build_problem(outer=outer, learned_rates=kind, **PROMP)
    algorithm = problem.algorithm
    start = algorithm.meta.clone()
    expected = plain_adam(problem, outer, start)
    surrogate, kl, inner = (float(x.detach()) / 3 for x in outer_loss(problem, expected.clone().requires_grad_()))
    norm = float(outer_gradient(problem, start).norm()) / 3
    metrics = algorithm.update(problem.trajectories)
    assert relative(algorithm.meta - start, expected - start) < 1e-6
    assert metrics["grad_norm"] == pytest.approx(norm)
    assert (metrics["loss"], metrics["kl"]) == pytest.approx((surrogate, kl), rel=1e-6)
    if outer.inner_kl_coef:
        assert (metrics["inner_kl"], metrics["inner_kl_coef"]) == pytest.approx((inner, 0.5), rel=1e-6)
    else:
        assert "inner_kl" not in metrics


def test_adam_remembers_its_moments_from_update_to_update_and_in_a_state(build_problem):
    outer = AdamConfig(outer_lr=0.01, inner_kl_coef=0.1, target_inner_kl=1.0)
    straight, stopped, forgetful = (build_problem(outer=outer, **PROMP) for _ in range(3))
    for problem in (straight, stopped):
        problem.algorithm.update(problem.trajectories)
    state = stopped.algorithm.state_dict()
    fresh = build_problem(outer=outer, **PROMP)
    fresh.algorithm.load_state_dict(state)
    forgetful.algorithm.meta = stopped.algorithm.meta
    metrics = [p.algorithm.update(p.trajectories) for p in (straight, fresh, forgetful)]
    assert torch.equal(straight.algorithm.meta, fresh.algorithm.meta)
    assert metrics[0] == metrics[1]
    assert not torch.equal(straight.algorithm.meta, forgetful.algorithm.meta)


def test_the_weight_of_the_inner_kl_doubles_above_its_target_and_halves_below(build_problem):
    def weights(target):
        outer = AdamConfig(outer_lr=0.02, inner_kl_coef=0.1, target_inner_kl=target)
        problem = build_problem(outer=outer, **PROMP)
        return [problem.algorithm.update(problem.trajectories) for _ in range(3)]

    coefs = {target: [m["inner_kl_coef"] for m in weights(target)] for target in (0.0, 1e-9, 1e5)}
    assert coefs == {0.0: [0.1] * 3, 1e-9: [0.1, 0.2, 0.4], 1e5: [0.1, 0.05, 0.025]}
    reached = weights(0.0)[0]["inner_kl"]
    assert [m["inner_kl_coef"] for m in weights(reached)[:2]] == [0.1, 0.1], "within the factor of 1.5 it stays"


@pytest.mark.parametrize(("moved", "factor"), [(1.52, 2), (1.48, 1), (0.68, 1), (0.65, 0.5)])
def test_the_weight_changes_beyond_a_factor_of_1_5_from_the_target(build_problem, monkeypatch, moved, factor):
    problem = build_problem(outer=AdamConfig(num_outer_steps=2, inner_kl_coef=0.1, target_inner_kl=0.01), **PROMP)
    monkeypatch.setattr("metarl.algorithms.outer.inner_kl", lambda objective, theta: torch.tensor(moved * 0.01))
    problem.algorithm.update(problem.trajectories)
    assert problem.algorithm.optimizer.inner_kl_coef == pytest.approx(factor * 0.1)


def test_a_stronger_penalty_keeps_the_inner_policies_closer(build_problem):
    free, held = (build_problem(outer=AdamConfig(outer_lr=0.02, inner_kl_coef=coef), **PROMP) for coef in (1e-9, 100.0))
    inner = [p.algorithm.update(p.trajectories)["inner_kl"] for p in (free, held)]
    assert 0 < inner[1] < 0.5 * inner[0]


# --- All methods -------------------------------------------------------------------------------------------------

METHODS = {
    "trpo": {"outer": TRPOConfig()},
    "first-order": {"estimator": "first-order"},
    "lvc": {"estimator": "lvc"},
    "dice": {"estimator": "dice"},
    "vpg": {"outer": AdamConfig("vpg", 0.01, 1)},
    "ppo": {"outer": AdamConfig(outer_lr=0.01)},
    "promp": {"estimator": "lvc", "outer": AdamConfig(outer_lr=0.01, inner_kl_coef=0.1)},
    "meta-sgd": {"learned_rates": "parameter"},
    "value": {"baseline": "value", "entropy_coef": 0.01},
}


@pytest.mark.parametrize("method", METHODS)
def test_groups_of_tasks_change_an_update_by_rounding_alone(build_problem, monkeypatch, method):
    whole, split = (build_problem(num_inner_steps=2, **METHODS[method]) for _ in range(2))
    start = whole.algorithm.meta.clone()
    first = whole.algorithm.update(whole.trajectories)
    monkeypatch.setattr("metarl.learning.rollout.CHUNK_STEPS", 1)
    second = split.algorithm.update(split.trajectories)
    assert float((whole.algorithm.meta - start).norm()) > 1e-3
    assert relative(split.algorithm.meta - start, whole.algorithm.meta - start) < 1e-6
    assert second == pytest.approx(first, rel=1e-6)


# --- Nonsense ----------------------------------------------------------------------------------------------------

NONSENSE = {
    "several steps of a policy gradient": (lambda: AdamConfig("vpg"), "set num_outer_steps to 1"),
    "objective": (lambda: AdamConfig("clp"), "Unknown objective 'clp'. Did you mean 'clip'?"),
    "a target without a weight": (lambda: AdamConfig(target_inner_kl=0.01), "must then start above 0, such as 5e-4"),
    "a weight that cannot act": (lambda: AdamConfig("vpg", 0.01, 1, inner_kl_coef=1.0), "from the second outer step"),
    "outer_lr": (lambda: AdamConfig(outer_lr=-1.0), "outer_lr must be at least 0 and at most"),
    "clip": (lambda: AdamConfig(clip=math.nan), "clip must be at least 0 and at most"),
    "no outer steps": (lambda: AdamConfig(num_outer_steps=0), "num_outer_steps must be at least 1"),
    "max_kl": (lambda: TRPOConfig(max_kl=math.inf), "max_kl must be at least 0"),
    "no cg": (lambda: TRPOConfig(cg_iterations=0), "cg_iterations must be at least 1"),
    "inner_lr": (lambda: MAMLConfig(inner_lr=-0.1), "inner_lr must be at least 0"),
    "learned from below 0": (lambda: MAMLConfig(inner_lr=-0.1, learned_rates="tensor"), "inner_lr must be at least 0"),
    "no inner steps": (lambda: MAMLConfig(num_inner_steps=0), "num_inner_steps must be at least 1"),
    "entropy": (lambda: MAMLConfig(entropy_coef=-1.0), "entropy_coef must be at least 0"),
    "no epochs": (lambda: MAMLConfig(value_epochs=0), "value_epochs must be at least 1"),
    "estimator": (lambda: MAMLConfig(estimator="dise"), "Unknown estimator 'dise'. Did you mean 'dice'?"),
    "learned_rates": (lambda: MAMLConfig(learned_rates="all"), "Unknown learned_rates 'all'"),
    "outer_scale": (lambda: MAMLConfig(outer_scale="tasks"), "Did you mean 'task'?"),
    "baseline": (lambda: MAMLConfig(baseline="lineal"), "Did you mean 'linear'?"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_refused_in_one_line(case, sentence):
    make, words = NONSENSE[case]
    with pytest.raises(InputError) as error:
        make()
    assert words in sentence(error)


def test_a_weight_on_the_inner_kl_can_act_from_two_steps_on():
    assert AdamConfig(num_outer_steps=2, inner_kl_coef=5e-4, target_inner_kl=0.01).inner_kl_coef == 5e-4


def test_rates_may_be_learned_from_0(build_problem):
    """The first policies are then those before adaptation, and the gradient moves the rates."""
    problem = build_problem(inner_lr=0.0, learned_rates="tensor", outer=AdamConfig("vpg", 0.01, 1))
    size = problem.policy.num_parameters
    problem.algorithm.update(problem.trajectories)
    assert torch.all(problem.algorithm.meta[size:] != 0)
