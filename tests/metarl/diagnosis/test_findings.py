"""The measurements behind a diagnosis, on numbers whose answer is known."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Generator
from trials import arms, board, make

import envs
from metarl.diagnosis.findings import Interval, judge_gain, plain, short
from metarl.diagnosis.network import explained, held_out_linear
from metarl.diagnosis.probe import Probe, other_tasks, task_columns
from metarl.diagnosis.run_findings import decodable
from metarl.diagnosis.steps import SCALES, Adapted, judge_line
from metarl.diagnosis.trials import ends, forgetful, repeated
from metarl.learning.rollout import rollout
from metarl.policies.gru import GRUConfig
from metarl.policies.metanet import MetaNetConfig
from metarl.policies.mlp import StepInput


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=Generator().manual_seed(seed))


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


def test_numbers_are_written_short_and_as_json():
    assert [short(x) for x in (0.12345, -1.5, 1234.5, -0.00001)] == ["0.123", "−1.5", "1234", "−1e−05"]
    assert short(2.0, "+") == "+2"
    written = plain({"a": UP, "b": [1.0, math.nan], "c": math.inf, "d": "x", "e": 3})
    assert written == {"a": {"mean": 2, "ci95": [1, 3]}, "b": [1.0, None], "c": None, "d": "x", "e": 3}


# --- The line of step sizes --------------------------------------------------------------------------------------


def line(best, tasks=50, noise=0.1):
    """Returns that rise by 1 to the step size `best` and fall beyond it."""
    scale = torch.tensor(SCALES)
    curve = 1 - torch.log2(scale.clamp_min(1e-3) / best).square() / 4
    curve = torch.where(scale == 0, 0.0, curve.clamp_min(-5) if best >= 1 else curve.clamp_min(-50))
    return curve[:, None] + noise * normal(len(SCALES), tasks)


@pytest.mark.parametrize(
    ("best", "verdict", "option"),
    [(1, "ok", None), (2, "ok", None), (1 / 2, "ok", None), (4, "problem", "0.4"), (1 / 4, "problem", "0.025"),
     (64, "problem", "6.4"), (1 / 64, "problem", "0.0015625")],
)  # fmt: skip
def test_the_best_step_size_decides(best, verdict, option):
    found = judge_line(line(best), 0.1, 0.1, 20)
    assert found.verdict == verdict
    assert found.next == (option and f"--inner-lr {option}")
    assert found.numbers["best"] == pytest.approx(0.1 * best)


def test_a_better_step_size_that_brings_little_more_is_no_problem():
    returns = line(1)
    returns[SCALES.index(4.0)] = returns[SCALES.index(1.0)] + 0.1
    found = judge_line(returns, 0.1, 0.1, 20)
    assert found.numbers["best"] == pytest.approx(0.4) and found.numbers["best minus present"].positive
    assert found.verdict == "ok"


def test_noise_alone_is_rarely_a_problem():
    verdicts = [judge_line(normal(len(SCALES), 40, seed=k), 0.1, 0.1, 20).verdict for k in range(60)]
    assert verdicts.count("problem") <= 4 < 40 < verdicts.count("note")


def test_steps_that_all_hurt_blame_the_gradient_too():
    returns = -torch.tensor(SCALES)[:, None] + 0.01 * normal(len(SCALES), 40)
    found = judge_line(returns, 0.1, 0.1, 20)
    assert found.verdict == "problem" and "or its gradient is noise" in found.sentence
    assert "--num-envs 40" in found.next


def test_learned_rates_are_suggested_in_units_of_where_they_started():
    found = judge_line(line(4), 0.3, 0.1, 20)
    assert found.next == "--inner-lr 0.4" and "0.3 is too small" in found.sentence


def test_a_size_whose_return_is_not_finite_is_never_the_best():
    returns = line(1)
    returns[-1, 3] = math.nan
    assert judge_line(returns, 0.1, 0.1, 20).verdict == "ok"
    returns[SCALES.index(1.0), 3] = math.inf
    found = judge_line(returns, 0.1, 0.1, 20)
    assert found.verdict == "problem" and "is not finite" in found.sentence


# --- Tasks -------------------------------------------------------------------------------------------------------


def test_another_task_is_never_an_equal_one_where_that_can_be_helped():
    env = envs.make("gridworld", "varibad")
    task = env.sample_tasks(40, Generator().manual_seed(0))
    partner = other_tasks(env, task, 0)
    assert sorted(partner) == list(range(40))
    rows = np.concatenate(list(task_columns(env, task).values()), 1)
    assert len(np.unique(rows, axis=0)) < 40
    assert (rows != rows[partner]).any(1).all()
    assert (other_tasks(env, task, 1) != partner).any()
    same = task[torch.zeros(5, dtype=torch.int64)]
    assert sorted(other_tasks(env, same, 0)) == list(range(5))


@pytest.mark.parametrize("name", sorted(name for name in envs.FAMILIES if "-" not in name or "bandit" in name))
def test_tasks_of_every_family_are_columns(name):
    env = envs.make(name)
    columns = task_columns(env, env.sample_tasks(6, Generator().manual_seed(0)))
    assert columns.keys() == env.task_space.spaces.keys()
    assert all(c.shape[0] == 6 and c.ndim == 2 and np.isfinite(c).all() for c in columns.values())


def field(kind):
    """Observations [N, E, O] of 60 tasks and a field of them [N, D]."""
    x, y = normal(60, 3, 4).double().numpy(), normal(60, 2, seed=1).double().numpy()
    if kind in ("held", "noisy"):
        x[..., 1:3] = y[:, None] * 7 + 2 + (3 * normal(60, 3, 2, seed=2).numpy() if kind == "noisy" else 0)
    if kind == "constant":
        x = np.ones_like(x)
    return x, y


@pytest.mark.parametrize(
    ("kind", "low", "high"), [("held", 0.99, 1.0), ("noisy", 0.6, 0.95), ("absent", -1, 0.1), ("constant", -0.2, 0.0)]
)
def test_what_observations_hold_is_read_from_them_and_no_more(kind, low, high):
    assert low <= decodable(*field(kind)) <= high


def test_a_single_column_that_is_held_is_found_among_others_and_one_hot_ones_count_together():
    x, y = field("held")
    y = np.concatenate([y[:, :1], normal(60, 5, seed=3).numpy()], 1)
    assert decodable(x, y) > 0.99
    assert decodable(x, y, together=True) < 0.5


# --- The baseline ------------------------------------------------------------------------------------------------


def test_explained_variance_is_within_tasks_and_valid_steps():
    target, mask = normal(3, 5, 4), (normal(3, 5, 4, seed=1) > -1).float()
    offset = torch.tensor([5.0, -7.0, 100.0]).view(3, 1, 1)
    assert explained(target, target, mask) == pytest.approx(1)
    assert explained(target + offset, target, mask) == pytest.approx(1)
    assert explained(target, torch.where(mask > 0, target, 99.0), mask) == pytest.approx(1)
    assert explained(target, torch.zeros_like(target), mask) == pytest.approx(0)
    assert explained(target, -target, mask) == pytest.approx(-3)
    assert math.isnan(explained(offset.expand(3, 5, 4), target, mask))


def test_a_fit_to_other_samples_finds_a_law_and_no_noise():
    x = torch.cat([normal(2, 20, 6, 3), torch.ones(2, 20, 6, 1)], -1)
    weights = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 1.0, 1.0, -1.0]])
    mask = torch.ones(2, 20, 6)
    law = (x * weights[:, None, None]).sum(-1)
    torch.testing.assert_close(held_out_linear(x, law, mask).float(), law, rtol=1e-3, atol=1e-3)
    noise = normal(2, 20, 6, seed=4)
    assert explained(noise, held_out_linear(x, noise, mask).float(), mask) < 0.05
    spoilt = law.clone()
    spoilt[:, :, 3:] = 1e3
    mask[:, :, 3:] = 0
    fit = held_out_linear(x, spoilt, mask).float()
    torch.testing.assert_close(fit[:, :, :3], law[:, :, :3], rtol=1e-3, atol=1e-3)


# --- Trials ------------------------------------------------------------------------------------------------------


def test_the_ends_of_a_trial():
    reward = torch.arange(20.0).view(1, 20, 1).expand(2, 20, 3)
    assert [x.tolist() for x in ends(reward, 1)] == [[0.5, 0.5], [18.5, 18.5]]
    assert [x.tolist() for x in ends(reward, 4)] == [[10.0, 10.0], [85.0, 85.0]]
    assert [x.tolist() for x in ends(reward[:, :, 0], 2)] == [[45.0, 45.0], [145.0, 145.0]]


@pytest.mark.parametrize("config", [GRUConfig(8), MetaNetConfig(hidden_size=8, num_heads=2, key_size=2, code_size=2)])
def test_a_forgetful_actor_remembers_the_episode_and_nothing_before_it(config):
    """Its logits are compared between two trials whose rewards differ in one step, by the actions they lead to."""
    env = arms(pulls=3)
    network, seen = make(env, config, num_episodes=2, noise=1.0), []

    def logits(changed_step):
        act, memory, out = forgetful(network, Generator().manual_seed(0)), None, []
        network.distribution = lambda outputs: SimpleNamespace(sample=lambda generator: (out.append(outputs.action),
            torch.zeros(2, dtype=torch.int64))[1])  # fmt: skip
        for t in range(6):
            reward = torch.full((1, 2), float(t == changed_step))
            yes = torch.ones(1, 2)
            first = torch.full((1, 2), t % 3 == 0)
            inputs = StepInput(torch.ones(1, 2, 1), torch.zeros(1, 2, dtype=torch.int64), reward, first, yes)
            _, memory = act(inputs, None, memory)
        del network.distribution
        return torch.stack(out)

    with torch.no_grad():
        plain_trial, seen = logits(None), [logits(k) for k in (1, 3, 4)]
    differs = [[bool((a - b).abs().max() > 1e-6) for a, b in zip(x, plain_trial, strict=True)] for x in seen]
    assert differs[0] == [False, True, True, False, False, False]  # seen in the first episode
    assert differs[1] == [False] * 6  # what the last step of the first episode paid is seen when it is forgotten
    assert differs[2] == [False] * 4 + [True] * 2
    assert (plain_trial[0] - plain_trial[4]).abs().max() > 1e-6


def test_repeated_actions_are_those_of_the_other_trial():
    env = board()
    actions = torch.randint(5, (3, 12, 2), generator=Generator().manual_seed(0))
    task = env.sample_tasks(3, Generator().manual_seed(1))
    played = rollout(env, repeated(actions), task, 2, Generator(), num_episodes=2)
    assert torch.equal(played.action, actions)


# --- Sizes -------------------------------------------------------------------------------------------------------


def test_default_sizes_follow_the_run(make_run):
    run = make_run(num_envs=20, horizon=100)
    probe = Probe.of(run)
    assert (probe.num_tasks, probe.num_envs, probe.judges, probe.trained_steps) == (64, 20, 5, 1)
    assert Probe.of(run, num_envs=2).judges == 2
    assert Probe.of(run, num_envs=200).judges == 50
    assert Probe.of(run, num_tasks=9, num_envs=3, num_steps=1).num_tasks == 9
    assert Probe.of(make_run("long", num_envs=100, horizon=1000)).num_tasks == 16
    assert Probe.of(make_run("short", num_envs=1, horizon=1)).num_tasks == 1000
    assert Probe.of(make_run("fewer", num_envs=1, horizon=1, eval_num_tasks=40)).num_tasks == 40
