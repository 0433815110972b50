"""The measurements behind a diagnosis, on numbers whose answer is known."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from diagnoses import normal

from metarl.diagnosis.findings import Interval, judge_gain, plain, short
from metarl.diagnosis.steps import Adapted

# --- Intervals and verdicts --------------------------------------------------------------------------------------


def test_an_interval_is_of_the_mean_and_leaves_out_what_is_not_finite():
    x = 3 + normal(400)
    found = Interval.of(torch.cat([x, torch.tensor([math.nan, math.inf])]))
    assert found.mean == pytest.approx(float(x.mean()), rel=1e-5)
    error = float(x.std()) / 20
    assert (found.low, found.high) == pytest.approx((found.mean - 1.96 * error, found.mean + 1.96 * error), abs=0.02)
    assert found.positive and not found.negative
    assert math.isnan(Interval.of(torch.tensor([math.nan])).mean)


def test_the_interval_of_a_difference_has_the_error_of_both():
    x, y = 5 + normal(300), 3 + 2 * normal(200, seed=1)
    found = Interval.of_difference(x, y)
    assert found.mean == pytest.approx(float(x.mean() - y.mean()), rel=1e-5)
    error = math.sqrt(float(x.var()) / 300 + float(y.var()) / 200)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_rounding_is_no_difference():
    """Means over other numbers of lanes differ in the last digits of float32, and always to the same side."""
    before = 10 * normal(24).double()
    for change, differs in ((1.4e-7, False), (0.01, True)):
        noise = change * (1 + 0.1 * normal(24, seed=1).double())
        up, down = Interval.of_change(before + noise, before), Interval.of_change(before, before + noise)
        assert up.low > 0 > down.high
        assert (up.positive, down.negative, up.negative, down.positive) == (differs, differs, False, False)
    same = torch.full((24,), -9.0)
    assert not Interval.of_difference(same + 1e-6, same).positive
    assert Interval.of_difference(same + 1e-2, same).positive


def test_means_of_equal_lanes_are_equal_whatever_their_number():
    reward = normal(50, 1, 1)
    sizes = [SimpleNamespace(returns=reward.expand(50, 1, lanes).sum(1)) for lanes in (20, 5, 7)]
    many, few, odd = Adapted(None, sizes, []).returns
    assert max(float((many - x).abs().max()) for x in (few, odd)) < 1e-12


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ([3.0, -1.0] * 3 + [2.0, -1.0], "note"),
        ([0.015, -0.005] * 3 + [0.01, -0.005], "problem"),  # under 1 % of returns of 10
        ([5.0], "problem"),  # one task alone
        ([-3.0, 1.0] * 4, "problem"),
    ],
)
def test_only_a_gain_that_may_matter_asks_for_more_tasks(changes, verdict):
    before = torch.linspace(-10, 10, 24)
    gain = Interval.of_change(before + torch.tensor(changes + [0.0] * (24 - len(changes))), before)
    assert not gain.positive
    found = judge_gain(gain, None, "after 1 gradient step", "")
    assert found[0] == verdict and ("may help" in found[1]) == (verdict == "note")


UP, NONE, DOWN = Interval(2, 1, 3, 0.5), Interval(0.1, -1, 1.2, 0.55), Interval(-2, -3, -1, 0.5)


def test_numbers_are_written_short_and_as_json():
    assert [short(x) for x in (0.12345, -1.5, 1234.5, -0.00001)] == ["0.123", "−1.5", "1234", "−1e−05"]
    assert short(2.0, "+") == "+2"
    written = plain({"a": UP, "b": [1.0, math.nan], "c": math.inf, "d": "x", "e": 3})
    assert written == {"a": {"mean": 2, "mean_ci95": [1, 3]}, "b": [1.0, None], "c": None, "d": "x", "e": 3}
