"""The estimators of the meta-gradient against the exact one, on MDPs where every trajectory can be listed."""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Generator

import envs
from metarl.algorithms.inner import ESTIMATORS
from metarl.policies.mlp import MLPConfig, make_policy

SCRIPT = Path(__file__).parents[2] / "experiments" / "estimator_trials.py"
spec = importlib.util.spec_from_file_location("estimator_trials", SCRIPT)
trials = sys.modules["estimator_trials"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(trials)


@cache
def build(horizon=4, hidden_sizes=(4,), seed=0):
    generator = Generator().manual_seed(seed)
    env = envs.make("tabular-mdp", num_states=3, num_actions=3, horizon=horizon)
    policy = make_policy(env.observation_space, env.action_space, MLPConfig(hidden_sizes))
    return trials.Trial(env, env.sample_tasks(1, generator), policy, policy.init(generator), 1.0)


@cache
def sampled(horizon=4, num_envs=50, repetitions=1000):
    """Estimates of `build(horizon)` from random episodes."""
    return build(horizon).estimates(num_envs, repetitions, Generator().manual_seed(1))


def product(trial):
    return trial.hessian @ trial.adapted_gradient


def relative(a, b):
    return float((a - b).norm() / b.norm())


def standard_errors(estimates, truth):
    """The largest mean error of a coordinate, in its standard errors. Coordinates that never vary must be right."""
    error, std = (estimates.mean(0) - truth).abs(), estimates.std(0)
    varies = std > 1e-9
    assert float(error[~varies].sum()) < 1e-9
    return float((error[varies] / (std[varies] / len(estimates) ** 0.5)).max())


def central_difference(function, at, direction, step=1e-5):
    return (function(at + step * direction) - function(at - step * direction)) / (2 * step)


POLICIES = pytest.mark.parametrize("hidden_sizes", [(), (4,)], ids=["table", "network"])


@POLICIES
def test_the_exact_return_is_that_of_all_trajectories_and_of_random_ones(hidden_sizes):
    trial = build(hidden_sizes=hidden_sizes)
    exact = float(trial.objective(trial.params))
    every, probability = trial.every_trajectory(trial.params)
    assert float(probability.sum()) == pytest.approx(1, abs=1e-12)
    assert float((every.returns[0] * probability).sum()) / 4 == pytest.approx(exact, abs=1e-12)
    returns = trial.sampled(trial.params[None], 20_000, Generator().manual_seed(0)).returns / 4
    assert abs(float(returns.mean()) - exact) < 4 * float(returns.std()) / 20_000**0.5 < 0.05


@POLICIES
def test_exact_derivatives_equal_finite_differences(hidden_sizes):
    trial = build(hidden_sizes=hidden_sizes)

    def meta_objective(params):
        return trial.objective(params + trial.inner_lr * torch.func.grad(trial.objective)(params))

    direction = torch.randn(len(trial.params), generator=Generator().manual_seed(0), dtype=torch.float64)
    for function, exact in {
        trial.objective: trial.gradient @ direction,
        torch.func.grad(trial.objective): trial.hessian @ direction,
        meta_objective: trial.meta_gradient @ direction,
    }.items():
        assert relative(central_difference(function, trial.params, direction), exact) < 1e-7


@pytest.mark.parametrize("seed", range(3))
@POLICIES
def test_over_all_trajectories_dice_is_exact_and_lvc_nearer_than_naive(hidden_sizes, seed):
    trial = build(hidden_sizes=hidden_sizes, seed=seed)
    limits = trial.limits()
    assert relative(limits["first-order"].meta_gradient[0], trial.adapted_gradient) < 1e-12
    assert relative(limits["dice"].product[0], product(trial)) < 1e-12
    assert relative(limits["dice"].meta_gradient[0], trial.meta_gradient) < 1e-12
    for found, exact in (("product", product(trial)), ("meta_gradient", trial.meta_gradient)):
        naive, lvc = (relative(getattr(limits[name], found)[0], exact) for name in ("naive", "lvc"))
        assert 0.01 < lvc < naive


def test_naive_is_first_order_for_a_table_of_logits():
    """There the Hessian of log π is the same for every action, and advantages have mean zero over actions."""
    trial = build(hidden_sizes=())
    assert trial.limits()["naive"].product.norm() < 1e-12 < product(trial).norm()


def test_sampled_hessians_are_biased_as_the_limits_say():
    trial, limits = build(), build().limits()
    for name in ("naive", "lvc", "dice"):
        estimates = sampled()[name].product
        assert standard_errors(estimates, limits[name].product[0]) < 4
        worst = standard_errors(estimates, product(trial))
        assert worst < 4 if name == "dice" else worst > 10
    noise = {name: sampled()[name].product.std(0).norm() for name in trials.HESSIANS}
    assert noise["dice"] > 1.5 * noise["lvc"]


def test_sampled_meta_gradients_tend_to_the_limits():
    """The bias that few episodes add goes away like 1 / E; dice has no other."""
    trial = build()
    few = trial.estimates(5, 4000, Generator().manual_seed(2))["dice"].meta_gradient
    more = trial.estimates(400, 100, Generator().manual_seed(3))
    few_bias = trials.compare(few, trial.meta_gradient)
    assert standard_errors(few, trial.meta_gradient) > 10
    assert trials.compare(more["dice"].meta_gradient, trial.meta_gradient)["high"] < few_bias["low"] / 2
    for name in trials.HESSIANS:
        assert standard_errors(more[name].meta_gradient, trial.limits()[name].meta_gradient[0]) < 4


def test_at_horizon_one_lvc_and_dice_agree_and_are_unbiased():
    trial, estimates = build(horizon=1), sampled(horizon=1, repetitions=300)
    torch.testing.assert_close(estimates["lvc"].product, estimates["dice"].product, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(estimates["lvc"].meta_gradient, estimates["dice"].meta_gradient, rtol=1e-10, atol=1e-12)
    assert relative(trial.limits()["lvc"].product[0], product(trial)) < 1e-12
    assert standard_errors(estimates["lvc"].product, product(trial)) < 4
    assert standard_errors(estimates["naive"].product, product(trial)) > 10


def test_rows_add_up_to_the_meta_gradient_of_the_library_and_share_their_inner_gradient():
    trial = build()
    episodes = trial.round(6, 5, Generator().manual_seed(4))
    groups = {name: trial.group(name, *episodes) for name in trials.HESSIANS}
    for group in groups.values():
        rows = trial.estimate(group).meta_gradient
        assert relative(rows.sum(0), -group.gradient()) < 1e-12
        assert relative(group.here.steps[0].gradient, groups["naive"].here.steps[0].gradient) < 1e-12


@pytest.mark.parametrize("seed", range(2))
@POLICIES
def test_from_one_episode_e_maml_is_exact_and_no_other_is(hidden_sizes, seed):
    trial = build(horizon=3, hidden_sizes=hidden_sizes, seed=seed)
    found = trials.single_errors(trial)
    assert found["e-maml"]["bias"] < 1e-12
    assert all(found[name]["bias"] > 1e-2 for name in trials.HESSIANS)
    assert found["e-maml"]["noise"] > found["naive"]["noise"]


def test_compare_tells_a_bias_from_chance():
    noise = torch.randn(2000, 6, generator=Generator().manual_seed(5), dtype=torch.float64) * 3
    truth = torch.full((6,), 10.0, dtype=torch.float64)
    shift = torch.tensor([2.0, 0, 0, 0, 0, -1], dtype=torch.float64)
    biased, fair = trials.compare(truth + shift + noise, truth), trials.compare(truth + noise, truth)
    expected = float(shift.norm() / truth.norm())
    assert 0 < biased["low"] < expected < biased["high"] < 1.2 * expected
    assert biased["bias"] == pytest.approx(expected, rel=0.1)
    assert fair["low"] == 0 and 0 < fair["high"] < 0.03
    assert biased["noise"] == pytest.approx(3 / 10, rel=0.05)


def test_the_script_prints_tables_and_writes_json(script, tmp_path):
    output = tmp_path / "new" / "estimators.json"
    small = ("--num-envs", 4, 8, "--repetitions", 20, "--horizon", 2, "--num-tasks", 2)
    result = script("estimators", *small, "--output", output, "--device", "cpu")
    assert result.status == 0 and f"Wrote {output}" in result.out
    # 4, 8, ∞ episodes, the second table and the third
    assert all(result.out.count(name) == (1 if name == "e-maml" else 5) for name in ESTIMATORS)
    written = json.loads(output.read_text())
    assert written["options"]["num_envs"] == [4, 8] and set(written["episodes"]) == {"4", "8"}
    assert len(written["limits"]) == 2 and written["limits"][0]["dice"]["product"]["bias"] < 1e-12


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--horizon", 6), "horizon must lie in 1 .. 5, not 6"),
        (("--num-envs", 0), "num_envs must hold numbers of at least 1"),
        (("--repetitions", 1), "repetitions must be at least 2, not 1."),
        (("--num-tasks", 0), "num_tasks must be at least 1, not 0."),
        (("--inner-lr", "nan"), "inner_lr must be a positive number, not nan."),
        (("--output", "table.txt"), "must end in .json"),
    ],
)
def test_bad_input_is_named(script, sentence, arguments, said):
    result = script("estimators", *arguments)
    assert result.status == 2 and said in sentence(result.err)
