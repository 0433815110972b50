"""What a diagnosis says about adaptation and its learning rate."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from diagnoses import changed, diagnosis, normal, register, suggested, trained

import envs
from metarl.algorithms.maml import MAMLConfig
from metarl.diagnosis.findings import Interval, judge_gain
from metarl.diagnosis.steps import SCALES, judge_line

UP, NONE, DOWN = Interval(2, 1, 3, 0.5), Interval(0.1, -1, 1.2, 0.55), Interval(-2, -3, -1, 0.5)


@pytest.mark.parametrize(
    ("gain", "specific", "verdict", "words"),
    [
        (UP, UP, "ok", "Adaptation helps:"),
        (UP, None, "ok", "no control"),
        (UP, Interval(0, -0.5, 0.5), "problem", "Only multi-task improvement is seen:"),
        (UP, DOWN, "problem", "Only multi-task improvement is seen:"),
        (UP, Interval(1, -1, 3), "note", "too few tasks were played to say why"),
        (Interval(2, -0.5, 4, 1.1), UP, "note", "Adaptation may help, but too few tasks"),
        (NONE, NONE, "problem", "Adaptation does not help:"),
        (NONE, None, "problem", "Adaptation does not help:"),
        (NONE, UP, "problem", "although it tells tasks apart"),
        (DOWN, NONE, "problem", "Adaptation hurts:"),
    ],
)
def test_adaptation_helps_only_where_gain_and_control_say_so(gain, specific, verdict, words):
    found = judge_gain(gain, specific, "after 1 gradient step", "with another task's data")
    assert found[0] == verdict and words in found[1] and "after 1 gradient step" in found[1]


# --- The line of learning rates --------------------------------------------------------------------------------------


def line(best, tasks=50, noise=0.1):
    """Returns that rise by 1 to the learning rate `best` and fall beyond it."""
    scale = torch.tensor(SCALES)
    curve = 1 - torch.log2(scale.clamp_min(1e-3) / best).square() / 4
    curve = torch.where(scale == 0, 0.0, curve.clamp_min(-5) if best >= 1 else curve.clamp_min(-50))
    return curve[:, None] + noise * normal(len(SCALES), tasks)


@pytest.mark.parametrize(
    ("best", "verdict", "option"),
    [
        (1, "ok", None),
        (2, "ok", None),
        (1 / 2, "ok", None),
        (4, "problem", "0.4"),
        (1 / 4, "problem", "0.025"),
        (64, "problem", "6.4"),
        (1 / 64, "problem", "0.0015625"),
    ],
)
def test_the_best_learning_rate_decides(best, verdict, option):
    found = judge_line(line(best), 0.1, 0.1, 20)
    assert found.verdict == verdict
    assert found.next == (option and f"--inner-lr {option}")
    assert found.numbers["best rate"] == pytest.approx(0.1 * best)


def test_a_better_learning_rate_that_brings_little_more_is_no_problem():
    returns = line(1)
    returns[SCALES.index(4.0)] = returns[SCALES.index(1.0)] + 0.1
    found = judge_line(returns, 0.1, 0.1, 20)
    assert found.numbers["best rate"] == pytest.approx(0.4) and found.numbers["gain of the best over this one"].positive
    assert found.verdict == "ok"


def test_noise_alone_is_rarely_a_problem():
    verdicts = [judge_line(normal(len(SCALES), 40, seed=k), 0.1, 0.1, 20).verdict for k in range(60)]
    assert verdicts.count("problem") <= 4 < 40 < verdicts.count("note")


def test_steps_that_all_hurt_blame_the_gradient_too():
    returns = -torch.tensor(SCALES)[:, None] + 0.01 * normal(len(SCALES), 40)
    found = judge_line(returns, 0.1, 0.1, 20)
    assert found.verdict == "problem" and "or the gradient is noise" in found.sentence
    assert "--num-envs 40" in found.next


def test_learned_rates_are_suggested_in_units_of_where_they_started():
    found = judge_line(line(4), 0.3, 0.1, 20)
    assert found.next == "--inner-lr 0.4" and "0.3 is too small" in found.sentence


def test_a_rate_whose_return_is_not_finite_is_never_the_best():
    returns = line(1)
    returns[-1, 3] = math.nan
    assert judge_line(returns, 0.1, 0.1, 20).verdict == "ok"
    returns[SCALES.index(1.0), 3] = math.inf
    found = judge_line(returns, 0.1, 0.1, 20)
    assert found.verdict == "problem" and "is not finite" in found.sentence


# --- The inner step ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "word"), [(0, "is 0"), (1 / 64, "too small"), (100, "too large")])
def test_a_wrong_inner_learning_rate_is_named_and_the_suggestion_mends_it(good, tmp_path, factor, word):
    d = diagnosis(changed(good, tmp_path / "broken", inner_lr=0.1 * factor))
    finding = d.findings["inner learning rate"]
    assert finding.verdict == "problem" and word in finding.sentence
    assert "adaptation" in d.problems or word == "too small"
    assert "inner learning rate" in d.result["sentence"]
    lr = suggested(finding, "--inner-lr")
    mended = diagnosis(changed(good, tmp_path / "mended", inner_lr=lr))
    assert mended.problems == set(), lr
    assert mended.findings["adaptation"].verdict == "ok"


def test_training_with_a_hundred_times_the_step_is_found(tmp_path):
    d = diagnosis(trained(tmp_path / "run", MAMLConfig(inner_lr=10.0)))
    assert "inner learning rate" in d.problems
    assert "too large" in d.findings["inner learning rate"].sentence
    assert suggested(d.findings["inner learning rate"], "--inner-lr") < 2


def test_training_without_a_step_is_found(tmp_path):
    d = diagnosis(trained(tmp_path / "run", MAMLConfig(inner_lr=0.0)))
    assert {"inner learning rate", "adaptation"} <= d.problems
    assert "so adaptation changes nothing" in d.findings["inner learning rate"].sentence
    assert 0.01 < suggested(d.findings["inner learning rate"], "--inner-lr") < 2


def test_a_step_that_leaves_the_numbers_is_found(relu, tmp_path):
    d = diagnosis(changed(relu, tmp_path / "run", inner_lr=1e38), num_tasks=8)
    assert {"adaptation", "inner learning rate"} <= d.problems
    assert "diverges" in d.findings["adaptation"].sentence
    assert "not finite" in d.findings["inner learning rate"].sentence
    assert d.findings["other tasks"].verdict == "does not apply"


class Shared(envs.point.Point):
    """All goals lie on one spot far away: there is something to learn, and no task to identify."""

    def sample_tasks(self, n, generator, split="train"):
        task = super().sample_tasks(n, generator, split)
        return dataclasses.replace(task, goal=0.01 * task.goal + 1.0)


def test_improvement_that_other_tasks_give_as_well_is_called_so(tmp_path, monkeypatch):
    run = trained(tmp_path / "run", MAMLConfig(), num_iterations=1, **register(monkeypatch, "shared", Shared))
    d = diagnosis(run)
    assert "adaptation" in d.problems
    assert d.result["sentence"].startswith("Only multi-task improvement is seen.")
    assert d.findings["adaptation"].numbers["gain after each step"][0]["mean_ci95"][0] > 0
