"""The index of an arm and the value of a bandit, by hand and against each other."""

from __future__ import annotations

import itertools

import pytest
from bandits import CPU, greedy_value, index

import envs
from envs.bandit.gittins import bayes_optimal_value, gittins_table


class TestGittinsIndex:
    def test_with_one_pull_to_go_it_is_the_posterior_mean(self):
        for pulls in range(30):
            for won in range(pulls + 1):
                assert index(pulls, won, 1) == pytest.approx((won + 1) / (pulls + 2), abs=2e-5)

    def test_small_cases_by_hand(self):
        # Two pulls to go at (0, 0): 1/2 - λ + 1/2 (2/3 - λ) = 0, since after a loss one goes to the known arm.
        assert index(0, 0, 2) == pytest.approx(5 / 9, abs=2e-5)
        # At (1 won, 0 lost), where p = 2/3: 2/3 - λ + 2/3 (3/4 - λ) = 0.
        assert index(1, 1, 2) == pytest.approx(7 / 10, abs=2e-5)
        # Three to go at (0, 0): 1/2 - λ + 1/2 (2/3 - λ + 2/3 (3/4 - λ)) = 0, where λ > 1/2 ends it after a loss.
        assert index(0, 0, 3) == pytest.approx((13 / 12) / (11 / 6), abs=2e-5)

    def test_it_grows_with_successes_and_with_the_pulls_to_go(self):
        for pulls in (0, 1, 5, 12):
            for won in range(pulls + 1):
                longer = [index(pulls, won, m) for m in range(1, 30 - pulls + 1)]
                assert all(b >= a for a, b in itertools.pairwise(longer))
                assert longer[-1] > longer[0] > 0 and longer[-1] < 1
            for m in (1, 2, 10):
                won = [index(pulls, s, m) for s in range(pulls + 1)]
                assert all(b > a for a, b in itertools.pairwise(won))

    def test_it_does_not_depend_on_the_horizon_it_was_tabulated_for(self):
        for state in ((0, 0, 8), (3, 2, 5), (7, 1, 1)):
            assert index(*state, horizon=8) == pytest.approx(index(*state, horizon=30), abs=2e-5)

    def test_the_grid_of_rates_is_fine_enough(self):
        coarse, fine = (gittins_table(40, CPU, rates).levels.float() / 65535 for rates in (257, 4097))
        error = (coarse - fine).abs()
        assert error.max() < 1e-3 and error.square().mean().sqrt() < 2e-4


class TestBayesOptimalValue:
    def test_small_cases_by_hand(self):
        assert bayes_optimal_value(1, 7) == pytest.approx(3.5)
        assert bayes_optimal_value(3, 1) == pytest.approx(0.5)
        # Two pulls, two arms: after a win stay with 2/3, after a loss change to 1/2.
        assert bayes_optimal_value(2, 2) == pytest.approx(0.5 + 0.5 * 2 / 3 + 0.5 * 0.5)

    def test_the_known_value(self):
        assert bayes_optimal_value(5, 10) == pytest.approx(6.66, abs=0.001)

    @pytest.mark.parametrize(("arms", "pulls"), [(2, 2), (2, 10), (3, 8), (5, 10)])
    def test_the_index_policy_comes_close_and_never_above(self, arms, pulls):
        gittins, best = greedy_value(((0, 0),) * arms, pulls, pulls), bayes_optimal_value(arms, pulls)
        assert best - 0.01 < gittins <= best + 1e-9


class TestBadInput:
    @pytest.mark.parametrize(("arms", "pulls"), [(0, 3), (2, 0), (2, 17)])
    def test_sizes_beyond_exact_values_are_refused(self, arms, pulls, sentence):
        with pytest.raises(envs.InputError) as caught:
            bayes_optimal_value(arms, pulls)
        sentence(caught)
