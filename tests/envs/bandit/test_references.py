"""Reference policies of bandits against values known from elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from bandits import CPU, bandit, generator, greedy_value

from envs.bandit import BERNOULLI_PRESETS, GAUSSIAN_PRESETS, Bandit, State
from envs.bandit.gittins import gittins_table
from envs.bandit.references import sample_gamma, truncated_normal
from metarl.learning.rollout import reference_rollout


def returns(name: str, env: Bandit, lanes: int = 10_000, seed: int = 5) -> tuple[float, float]:
    """Mean return of a reference over `lanes` tasks, and its standard error."""
    task = env.sample_tasks(lanes, generator(seed), "test")
    total = reference_rollout(env, env.references()[name], task, 1, generator(seed + 1)).returns.double()
    return total.mean().item(), total.std().item() / math.sqrt(lanes)


class TestReferences:
    """On fresh tasks, within four standard errors (and the rounding of the value that is known)."""

    @pytest.mark.parametrize(
        ("arms", "pulls", "name", "known", "rounding"),
        [
            (5, 10, "random", 5.0, 0),
            (5, 10, "Gittins", 6.66, 0.01),
            (5, 10, "clairvoyant", 10 * 5 / 6, 0),
            (5, 100, "random", 50.0, 0),
            (5, 100, "Thompson sampling", 75.05, 0.05),
            (5, 100, "Gittins", 78.7, 0.05),
            (5, 100, "clairvoyant", 100 * 5 / 6, 0),
            (5, 100, "UCB with prior", 78.0, 0.6),  # published, for a width that is not
            (10, 100, "Thompson sampling", 77.1, 0.05),
            (10, 100, "Gittins", 83.75, 0.05),
        ],
    )
    def test_bernoulli_returns_are_those_known(self, arms, pulls, name, known, rounding):
        mean, error = returns(name, bandit(arms, pulls))
        assert abs(mean - known) < 4 * error + rounding

    @pytest.mark.slow
    def test_gittins_is_feasible_and_best_over_500_pulls(self):
        gittins, thompson = (returns(name, bandit(5, 500), 4000) for name in ("Gittins", "Thompson sampling"))
        assert abs(thompson[0] - 402.0) < 4 * thompson[1] + 4, "as published, on 1,000 instances"
        assert thompson[0] < gittins[0] < 500 * 5 / 6
        assert gittins_table(500, CPU).levels.nbytes < 50e6

    def test_gittins_rollouts_agree_with_its_exact_value(self):
        mean, error = returns("Gittins", bandit(2, 10), 40_000)
        assert abs(mean - greedy_value(((0, 0),) * 2, 10, 10)) < 4 * error

    def test_gaussian_returns_are_ordered_and_the_ceiling_is_exact(self):
        env = Bandit(GAUSSIAN_PRESETS["k5-n100"], CPU)
        values = {name: returns(name, env, 4000) for name in env.references()}
        assert abs(values["random"][0]) < 4 * values["random"][1]
        ceiling = 100 * 1.16296  # the expected largest of five standard normal draws
        assert abs(values["clairvoyant"][0] - ceiling) < 4 * values["clairvoyant"][1]
        for name in ("epsilon-greedy", "UCB1", "UCB with prior", "Thompson sampling"):
            assert 60 < values[name][0] < ceiling - 5
        assert "Gittins" not in values

    def test_ucb1_pulls_each_arm_once_and_then_the_highest_index(self):
        env = bandit(3, 20)
        act = env.references()["UCB1"].act
        pulls = torch.tensor([[[0, 0, 0], [1, 0, 0], [1, 1, 0], [2, 5, 3], [5, 5, 10]]], dtype=torch.int16)
        won = torch.tensor([[[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 4, 2], [2, 3, 9]]], dtype=torch.int16)
        got = act(None, State(pulls, won), None, generator())[0]
        expected = [0, 1, 2]
        for n, s in zip(pulls[0, 3:].numpy(), won[0, 3:].numpy(), strict=True):
            expected.append(int(np.argmax(s / n + np.sqrt(2 * np.log(n.sum()) / n))))
        assert got.tolist() == expected

    def test_epsilon_greedy_explores_a_tenth_of_the_time(self):
        env = bandit(5, 20)
        counts = torch.tensor([2, 2, 2, 2, 2], dtype=torch.int16).expand(1, 20_000, 5)
        won = torch.tensor([0, 1, 2, 0, 1], dtype=torch.int16).expand(1, 20_000, 5)
        chosen = env.references()["epsilon-greedy"].act(None, State(counts, won), None, generator(1))
        share = torch.bincount(chosen.flatten(), minlength=5) / 20_000
        assert share.numpy() == pytest.approx(np.array([0.02, 0.02, 0.92, 0.02, 0.02]), abs=0.008)

    @pytest.mark.parametrize(
        "config",
        [BERNOULLI_PRESETS["k5-n10"], *(GAUSSIAN_PRESETS[name] for name in ("k5-n10", "k5-n100-uniform", "lee2023"))],
    )
    def test_thompson_sampling_pulls_an_arm_as_often_as_it_is_likely_to_be_best(self, config):
        """Against brute force: prior draws weighted by the likelihood of what was seen."""
        env = Bandit(config, CPU)
        pulls = torch.tensor([3, 1, 0, 4, 2], dtype=torch.int16)
        rewards = torch.tensor([2, 1, 0, 1, 1]).to(env.sum_dtype)
        lanes = (1, 40_000, 5)
        state = State(pulls.expand(lanes), rewards.expand(lanes))
        chosen = env.references()["Thompson sampling"].act(None, state, None, generator(1))
        share = torch.bincount(chosen.flatten(), minlength=5) / 40_000
        means = env.sample_tasks(400_000, generator(2)).mean.double()
        if config.rewards == "bernoulli":
            log_likelihood = torch.xlogy(rewards, means) + torch.xlogy(pulls - rewards, 1 - means)
        else:  # up to a constant of the data
            log_likelihood = (means * rewards - pulls * means.square() / 2) / config.reward_std**2
        weight = log_likelihood.sum(-1).exp()
        expected = torch.zeros(5, dtype=torch.float64).index_add(0, means.argmax(-1), weight) / weight.sum()
        assert share.numpy() == pytest.approx(expected.numpy(), abs=0.015)


@pytest.mark.parametrize("shape", [1.0, 1.5, 4.0, 120.0])
def test_gamma_draws_have_the_moments_of_the_law(shape):
    draws = sample_gamma(torch.full((200, 500), shape), generator(1)).double()
    assert draws.shape == (200, 500) and (draws > 0).all()
    assert draws.mean().item() == pytest.approx(shape, abs=5 * math.sqrt(shape / 1e5))
    assert draws.var().item() == pytest.approx(shape, rel=0.05)
    expected = torch.special.gammainc(torch.tensor(shape).double(), torch.tensor(0.8 * shape).double()).item()
    assert (draws < 0.8 * shape).double().mean().item() == pytest.approx(expected, abs=0.008)


def test_truncated_normal_draws_stay_inside_also_far_from_it():
    uniform = torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1]
    for total, pulls in ((0.0, 0), (-8.0, 1), (9.0, 1), (2.0, 4), (120.0, 100), (-20.0, 100)):
        draws = truncated_normal(*(torch.tensor(x).double().expand(1000) for x in (total, pulls)), uniform)
        assert draws.isfinite().all() and (draws >= 0).all() and (draws <= 1).all()
        assert len(draws.unique()) > 900, "no pile at an end"
