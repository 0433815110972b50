"""Reptile against a loop over tasks that learns with torch's optimizers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from plain_meta import average, relative
from torch import Generator

import envs
from envs import InputError
from metarl.algorithms.reptile import Reptile, ReptileConfig
from metarl.learning.advantage import advantages, standardize
from metarl.learning.rollout import collect
from metarl.policies.mlp import MLPConfig, make_policy


def build(num_iterations=10, seed=0, **config):
    """Reptile on Point with the trajectories of a meta-iteration, in float64; some episodes terminate early."""
    env = envs.make("point", horizon=6, goal_tolerance=0.15)
    generator = Generator().manual_seed(seed)
    policy = make_policy(env.observation_space, env.action_space, MLPConfig((5, 4)))
    settings = ReptileConfig(**{"inner_lr": 0.3, "gamma": 0.97, "gae_lambda": 0.9, **config})
    algorithm = Reptile(settings, env, policy, generator, num_iterations)
    task = env.sample_tasks(3, generator)
    trajectories = collect(env, policy, algorithm.params, task, algorithm.adapters(), 4, generator)
    trajectories = [t.map(lambda x: x.double() if x.is_floating_point() else x) for t in trajectories]
    algorithm.start = algorithm.mean = algorithm.start.double()
    return SimpleNamespace(policy=policy, algorithm=algorithm, trajectories=trajectories)


def learn_alone(problem, i):
    """Where task i arrives [P] when it learns by itself with an optimizer of torch."""
    config = problem.algorithm.config
    leaf = problem.algorithm.params.clone().requires_grad_()
    optimizer = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[config.inner_optimizer]([leaf], config.inner_lr)
    for trajectory in (t[i : i + 1] for t in problem.trajectories):
        advantage = standardize(advantages(trajectory, config.gamma, config.gae_lambda), trajectory.mask)
        old = None
        for _ in range(config.inner_epochs if config.inner_loss == "ppo" else 1):
            distribution, _ = problem.policy.bind(leaf.unsqueeze(0))(trajectory.inputs, None)
            log_prob = distribution.log_prob(trajectory.action)
            old = log_prob.detach() if old is None else old
            ratio = (log_prob - old).exp()
            gain = torch.minimum(ratio * advantage, ratio.clamp(1 - config.clip, 1 + config.clip) * advantage)
            gain = gain + config.entropy_coef * distribution.entropy()
            optimizer.zero_grad()
            (-average(gain, trajectory.mask)).sum().backward()
            optimizer.step()
    return leaf.detach()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("loss", ["vpg", "ppo"])
@pytest.mark.parametrize("rounds", [1, 3])
def test_an_update_moves_to_the_mean_of_where_tasks_arrive_alone(optimizer, loss, rounds, monkeypatch):
    settings = {"inner_optimizer": optimizer, "inner_loss": loss, "num_inner_steps": rounds, "entropy_coef": 0.05}
    problem = build(**settings, inner_lr=0.3 if optimizer == "sgd" else 0.03, outer_lr=0.7)
    algorithm, start = problem.algorithm, problem.algorithm.params
    arrived = torch.stack([learn_alone(problem, i) for i in range(3)]).mean(0)
    metrics = algorithm.update(problem.trajectories)
    assert relative(algorithm.params - start, 0.7 * (arrived - start)) < 1e-6
    assert metrics["move_norm"] == pytest.approx(float((arrived - start).norm()), rel=1e-6)
    assert metrics["outer_lr"] == 0.7
    split = build(**settings, inner_lr=algorithm.config.inner_lr, outer_lr=0.7)
    monkeypatch.setattr("metarl.learning.rollout.CHUNK_STEPS", 1)
    split.algorithm.update(split.trajectories)
    assert relative(split.algorithm.params - start, algorithm.params - start) < 1e-6


def test_with_one_round_and_one_step_it_is_the_mean_gradient():
    problem = build(num_inner_steps=1)
    algorithm, trajectory, start = problem.algorithm, problem.trajectories[0], problem.algorithm.params
    assert algorithm.adapters() == []
    leaf = start.clone().requires_grad_()
    distribution, _ = problem.policy.bind(leaf.expand(3, -1))(trajectory.inputs, None)
    advantage = standardize(advantages(trajectory, 0.97, 0.9), trajectory.mask)
    loss = -average(distribution.log_prob(trajectory.action) * advantage, trajectory.mask).mean()
    algorithm.update([trajectory])
    assert relative(algorithm.params - start, -0.3 * torch.autograd.grad(loss, leaf)[0]) < 1e-10


def test_one_epoch_of_ppo_is_a_policy_gradient_step():
    """All likelihood ratios are 1 there."""
    vpg, ppo = build(), build(inner_loss="ppo", inner_epochs=1)
    for problem in (vpg, ppo):
        problem.algorithm.update(vpg.trajectories)
    torch.testing.assert_close(ppo.algorithm.params, vpg.algorithm.params, rtol=1e-12, atol=1e-12)
    more = build(inner_loss="ppo", inner_epochs=2)
    more.algorithm.update(vpg.trajectories)
    assert relative(more.algorithm.params, vpg.algorithm.params) > 1e-3


def test_training_collects_one_round_less_than_it_learns_from():
    problem = build(num_inner_steps=3)
    assert len(problem.trajectories) == 3
    assert len(problem.algorithm.adapters()) == 2
    assert len(problem.algorithm.adapters(4, test=True)) == 4


def test_adapters_halve_the_rate_after_the_first_round_at_test_only():
    problem = build()
    start, trajectory = problem.algorithm.params.expand(3, -1), problem.trajectories[0]
    train, test = (
        [adapt(start, None, trajectory)[0] - start for adapt in problem.algorithm.adapters(2, test=test)]
        for test in (False, True)
    )
    torch.testing.assert_close(train[1], train[0])
    torch.testing.assert_close(test[0], train[0])
    torch.testing.assert_close(test[1], train[0] / 2)


@pytest.mark.parametrize(("first", "last"), [(1.0, 0.0), (0.4, 0.8)])
def test_the_outer_step_size_goes_linearly_and_reaches_its_end_after_the_last_iteration(first, last):
    problem = build(num_iterations=5, inner_lr=0.01, outer_lr=first, outer_lr_end=last)
    start = problem.algorithm.params
    used = [problem.algorithm.update(problem.trajectories)["outer_lr"] for _ in range(5)]
    assert used == pytest.approx([first + k / 5 * (last - first) for k in range(5)])
    assert used[-1] > 0, "no meta-iteration is lost"
    single = build(num_iterations=1, outer_lr=first, outer_lr_end=last)
    assert single.algorithm.update(problem.trajectories)["outer_lr"] == first
    assert problem.algorithm.params.isfinite().all() and relative(problem.algorithm.params, start) > 1e-3


def test_an_outer_step_of_0_stays():
    problem = build(outer_lr=0.0)
    start = problem.algorithm.params
    problem.algorithm.update(problem.trajectories)
    assert torch.equal(problem.algorithm.params, start)


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.1, 1), (0.75, 8), (0.9, 9), (1.0, 10)])
def test_the_mean_of_the_last_starts_is_evaluated(share, count):
    algorithm = (problem := build(num_iterations=10, inner_lr=0.01, average_last=share)).algorithm
    assert torch.equal(algorithm.eval_params, algorithm.params)
    starts = []
    for _ in range(10):
        algorithm.update(problem.trajectories)
        starts.append(algorithm.params)
        if len(starts) <= 10 - count:
            assert torch.equal(algorithm.eval_params, algorithm.params)
    expected = torch.stack(starts[10 - count :]).mean(0) if count else starts[-1]
    torch.testing.assert_close(algorithm.eval_params, expected, rtol=1e-12, atol=1e-12)


NONSENSE = {
    "inner_loss": ("pp", "Unknown inner_loss 'pp'. Did you mean 'ppo'?"),
    "inner_optimizer": ("adm", "Unknown inner_optimizer 'adm'. Did you mean 'adam'?"),
    "inner_epochs": (0, "inner_epochs must be at least 1"),
    "num_inner_steps": (0, "num_inner_steps must be at least 1"),
    "clip": (-0.1, "clip must be at least 0 and at most"),
    "outer_lr": (float("nan"), "outer_lr must be at least 0 and at most"),
    "outer_lr_end": (-1.0, "outer_lr_end must be at least 0 and at most"),
    "average_last": (1.5, "average_last must be at least 0 and at most"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_refused_in_one_line(name, sentence):
    value, words = NONSENSE[name]
    with pytest.raises(InputError) as error:
        ReptileConfig(**{name: value})
    assert words in sentence(error)


def test_after_the_last_meta_iteration_the_outer_step_stays_as_it_is():
    problem = build(num_iterations=2, inner_lr=0.01, outer_lr=0.8, outer_lr_end=0.4)
    used = [problem.algorithm.update(problem.trajectories)["outer_lr"] for _ in range(4)]
    assert used == pytest.approx([0.8, 0.6, 0.4, 0.4])


def test_the_inner_step_takes_other_rates():
    problem = build()
    start, inner = problem.algorithm.params.expand(3, -1), problem.algorithm.inner
    once, twice, other = (
        adapt(start, None, problem.trajectories[0])[0] - start
        for adapt in (problem.algorithm.adapters(1)[0], inner.step(2.0, None), inner.step(1.0, 0.06))
    )
    torch.testing.assert_close(twice, 2 * once)
    torch.testing.assert_close(other, 0.2 * once)


def test_the_entropy_is_the_mean_of_the_policies_that_played():
    problem = build(num_inner_steps=2)
    policy, (first, second) = problem.policy, problem.trajectories
    start = problem.algorithm.params.expand(3, -1)
    moved, _ = problem.algorithm.adapters(1)[0](start, None, first)
    played = [policy.bind(params)(t.inputs, None)[0] for params, t in ((start, first), (moved, second))]
    entropies = [average(d.entropy(), t.mask) for d, t in zip(played, problem.trajectories, strict=True)]
    metrics = problem.algorithm.update(problem.trajectories)
    assert metrics["entropy"] == pytest.approx(float(torch.stack(entropies).mean()), rel=1e-6)


def test_the_advice_after_divergence_is_half_the_outer_step():
    assert ReptileConfig(outer_lr=0.8).smaller_steps == "--outer-lr 0.4"


def test_a_state_goes_on_with_its_value_network_and_fits_no_other_policy():
    one, other = (build(baseline="value") for _ in range(2))
    one.algorithm.update(one.trajectories)
    state = one.algorithm.state_dict()
    other.algorithm.load_state_dict(state)
    assert torch.equal(other.algorithm.value(one.trajectories[0]), one.algorithm.value(one.trajectories[0]))
    with pytest.raises(ValueError, match="parameters"):
        other.algorithm.load_state_dict({**state, "params": state["params"][1:]})
