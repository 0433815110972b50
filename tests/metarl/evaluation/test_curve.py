"""Evaluation: its statistics, its tasks, and the file that evaluate.py writes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.stats
import torch
from lines import Line, LineConfig
from rich.console import Console
from rich.table import Table
from torch import Generator

import envs
from metarl.algorithms.base import Stages
from metarl.evaluation import curve as evaluate
from metarl.evaluation.curve import (
    has_scores,
    play_references,
    play_stages,
    summarize,
    summarize_scores,
)
from metarl.learning.rollout import collect
from metarl.policies.mlp import MLPConfig
from metarl.training.config import TrainConfig
from metarl.training.loop import train
from metarl.training.run import Run


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


# --- Statistics --------------------------------------------------------------------------------------------------


def test_a_summary_by_hand():
    returns = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0], [10.0, 1.0]], np.float32)
    result = summarize(returns[..., None], {"random": np.array([1.0, 2.0, 3.0, 6.0], np.float32)[:, None, None]})
    assert result["per_task"] == returns.tolist()
    curve = result["adaptation"]
    assert result["stages"] == {"num_steps": 1, "num_episodes": 0}
    assert curve["mean"] == [4.0, 1.0]
    assert curve["iqm"] == [3.0, 1.0]
    assert curve["std"] == pytest.approx([np.sqrt(56 / 3), 0.0])
    assert curve["iqm_ci95"][1] == curve["mean_ci95"][1] == [1.0, 1.0]
    assert result["references"]["random"]["mean"] == 3.0
    low, high = result["references"]["random"]["mean_ci95"]
    assert 1.0 < low < 3.0 < high < 6.0
    assert json.loads(json.dumps(result)) == result


def test_a_single_task_can_be_summarized():
    result = summarize(np.array([[[-3.0], [-1.0]]]), {"random": np.array([[[-5.0]]])})
    assert result["adaptation"]["std"] == [0.0, 0.0]
    assert result["adaptation"]["iqm_ci95"] == [[-3.0, -3.0], [-1.0, -1.0]]


# --- Returns -----------------------------------------------------------------------------------------------------


def test_a_row_is_a_task_and_a_column_a_step(make_run):
    run = make_run()
    task, adapters = run.env.sample_tasks(5, seeded()), run.algorithm.adapters(2, test=True)
    args = run.algorithm.policy, run.algorithm.params, task, adapters, 3
    returns = play_stages(run.env, run.algorithm.play(run.env, 3, seeded(1), Stages(2)), task, 3).rewards.sum(2)
    trajectories = collect(run.env, *args, seeded(1))
    assert returns.shape == (5, 3)
    for k, trajectory in enumerate(trajectories):
        torch.testing.assert_close(returns[:, k], trajectory.reward.sum(1).mean(1))


def test_groups_of_tasks_come_back_in_order(make_run, monkeypatch):
    """Goals ever farther away: whatever the groups, the returns of the first episodes fall in that order."""
    run = make_run()
    task = run.env.task_from_dicts([{"goal": [0.2 * k, 0.0]} for k in range(8)])
    run.algorithm.meta = torch.zeros_like(run.algorithm.params)  # the mean action is 0
    run.algorithm.meta[-2:] = -10.0  # and its standard deviation small
    fractions: list[float] = []
    monkeypatch.setattr(evaluate, "CHUNK_STEPS", 3 * run.env.horizon * 4)  # three tasks a group
    play = run.algorithm.play(run.env, 4, seeded(), Stages(1))
    returns = play_stages(run.env, play, task, 4, fractions.append).rewards.sum(2)
    assert fractions == [3 / 8, 6 / 8, 1.0]
    assert returns.shape == (8, 2)
    assert returns.isfinite().all()
    expected = -run.env.horizon * (0.2 * torch.arange(8.0)) ** 2
    torch.testing.assert_close(returns[1:, 0], expected[1:], rtol=0.02, atol=1e-3)
    references = {name: p.rewards.sum((1, 2)) for name, p in play_references(run.env, task, 4, seeded()).items()}
    assert all(len(values) == 8 for values in references.values())
    assert (references["straight line"].diff() < 0).all()


def test_references_are_played_on_the_given_tasks():
    env = envs.make("point", horizon=20)
    task = env.task_from_dicts([{"goal": [0.05, 0.0]}, {"goal": [0.25, 0.0]}])
    line = play_references(env, task, 2, seeded())["straight line"].rewards.sum((1, 2))
    torch.testing.assert_close(line, torch.tensor([0.0, -(0.15**2) - 0.05**2]), atol=1e-6, rtol=0)
    far = env.sample_tasks(30, seeded())
    references = {name: p.rewards for name, p in play_references(env, far, 10, seeded()).items()}
    assert references.keys() == {"random", "straight line"}
    assert references["straight line"].sum() > references["random"].sum() / 4


def test_adaptation_with_a_step_of_zero_leaves_the_curve_flat(make_run):
    run = make_run(inner_lr=0.0, horizon=10)
    task = run.env.sample_tasks(200, seeded())
    rewards = play_stages(run.env, run.algorithm.play(run.env, 10, seeded(1), Stages(3)), task, 10).rewards
    returns = rewards.sum(2).double()
    change = returns[:, 1:] - returns[:, :1]
    standard_error = change.std(0) / np.sqrt(200)
    assert (standard_error > 0).all()
    assert (change.mean(0).abs() < 4 * standard_error).all()


# --- Scores ------------------------------------------------------------------------------------------------------


class Scored(Line):
    """Scores an episode by where it ends, and by its best reward."""

    def scores(self, task, states, action, reward):
        assert states.x.shape[:2] == (len(task), self.horizon + 1) and action.shape[:3] == reward.shape
        return {"end": states.x[:, -1], "best": reward.amax(1)}


@pytest.mark.parametrize("group", [2, None])
def test_a_family_scores_every_stage_and_reference(monkeypatch, group):
    monkeypatch.setitem(envs.FAMILIES, "line", envs.Family("line", "metarl/Line-v0", Scored, {"a": LineConfig()}))
    env, num_envs = envs.make("line"), 3
    task = env.sample_tasks(5, seeded())
    run = Run("unused", "maml-line", TrainConfig(env="line", env_preset="a", policy=MLPConfig((4,))), LineConfig())

    def play(generator):
        return run.algorithm.play(env, num_envs, generator, Stages(1))

    played = play_stages(env, play(seeded(1)), task, num_envs, group=group)
    assert played.rewards.shape == (5, 2, env.horizon) and {*played.scores} == {"end", "best"}
    if group is None:
        for k, trajectory in enumerate(play(seeded(1))(task, True)):
            torch.testing.assert_close(played.scores["end"][:, k], trajectory.states.x[:, 0, -1].mean(1))
            torch.testing.assert_close(played.scores["best"][:, k], trajectory.reward.amax(1).mean(1))
    references = play_references(env, task, num_envs, seeded(), num_episodes=2)
    assert references["random"].scores["end"].shape == (5, 2)
    told = summarize_scores(played, references)
    assert json.loads(json.dumps(told)) == told
    assert told["end"]["adaptation"]["mean"] == pytest.approx(played.scores["end"].mean(0).tolist())
    random = references["random"].scores["end"].mean()
    assert told["end"]["references"]["random"]["mean"] == pytest.approx(float(random))


def test_states_are_kept_where_there_are_scores_alone():
    assert has_scores(Scored(LineConfig(), torch.device("cpu"))) and not has_scores(envs.make("point"))


# --- scripts/evaluate.py -----------------------------------------------------------------------------------------


def evaluated(script, path, *arguments) -> dict:
    output = path.parent / "evaluation.json"
    result = script("evaluate", path, "--output", output, *arguments)
    assert (result.status, result.err) == (0, "")
    return json.loads(output.read_text())


def test_the_file_holds_what_is_promised_and_the_numbers_fit(script, trained):
    e = evaluated(script, trained, "--num-tasks", 30, "--num-steps", 2)
    assert {k: e[k] for k in ("preset", "env", "algorithm", "split", "num_tasks", "seed", "iteration")} == {
        "preset": "maml-point",
        "env": "point/finn2017",
        "algorithm": "MAML",
        "split": "test",
        "num_tasks": 30,
        "seed": 0,
        "iteration": 3,
    }
    assert (e["num_envs"], e["train_seed"]) == (4, 0)
    rows, curve = np.array(e["per_task"]), e["adaptation"]
    assert rows.shape == (30, 3)
    assert np.isfinite(rows).all()
    assert e["stages"] == {"num_steps": 2, "num_episodes": 0}
    np.testing.assert_allclose(curve["mean"], rows.mean(0))
    np.testing.assert_allclose(curve["std"], rows.std(0, ddof=1))
    np.testing.assert_allclose(curve["iqm"], scipy.stats.trim_mean(rows, 0.25))
    assert np.shape(curve["iqm_ci95"]) == np.shape(curve["mean_ci95"]) == (3, 2)
    for middle, intervals in (("iqm", "iqm_ci95"), ("mean", "mean_ci95")):
        assert all(low < m < high for m, (low, high) in zip(curve[middle], curve[intervals], strict=True))
    assert e["references"].keys() == {"random", "straight line"}
    for reference in e["references"].values():
        assert reference["mean_ci95"][0] < reference["mean"] < reference["mean_ci95"][1]


def test_it_evaluates_the_checkpoint_on_the_tasks_of_the_seed(script, trained):
    e = evaluated(script, trained, "--num-tasks", 6, "--num-steps", 1, "--seed", 9, "--num-envs", 5)
    run, generator = Run.open(trained), seeded(9)
    task = run.env.sample_tasks(6, envs.task_generator(9, "test"), "test")
    rewards = play_stages(run.env, run.algorithm.play(run.env, 5, generator, Stages(1)), task, 5).rewards
    np.testing.assert_array_equal(np.array(e["per_task"]), rewards.double().sum(2).numpy())
    line = play_references(run.env, task, 5, generator)["straight line"].rewards.sum((1, 2))
    assert e["references"]["straight line"]["mean"] == pytest.approx(float(line.mean()))


def test_the_seed_fixes_the_evaluation(script, trained):
    first, second = (evaluated(script, trained, "--num-tasks", 10) for _ in range(2))
    assert first == second
    assert evaluated(script, trained, "--num-tasks", 10, "--seed", 1)["per_task"] != first["per_task"]


def test_the_tasks_depend_on_seed_and_split_alone(script, trained, make_run):
    """The straight line is told the goal and takes no chances, so its returns stand for the tasks."""
    other = make_run("other", seed=8, hidden_sizes=(3, 3), num_iterations=1)
    train(other, quiet=True)

    def line(path, *arguments):
        return evaluated(script, path, "--num-tasks", 20, *arguments)["references"]["straight line"]

    usual = line(trained)
    assert usual == line(other.path, "--num-steps", 1, "--num-envs", 2)
    assert usual != line(trained, "--seed", 1)
    (trained.parent / "evaluation.json").unlink(missing_ok=True)  # of another split
    assert line(trained, "--split", "ood")["mean"] < usual["mean_ci95"][0]


def test_no_steps_evaluate_the_policy_as_it_is(script, trained):
    e = evaluated(script, trained, "--num-tasks", 5, "--num-steps", 0)
    assert np.shape(e["per_task"]) == (5, 1)
    assert len(e["adaptation"]["mean"]) == len(e["adaptation"]["iqm_ci95"]) == 1


def test_one_task_is_enough(script, trained):
    e = evaluated(script, trained, "--num-tasks", 1)
    assert e["adaptation"]["iqm_ci95"] == [[row, row] for row in e["per_task"][0]]


def test_table_and_files(script, trained, tmp_path):
    result = script("evaluate", trained, "--num-tasks", 5, "--split", "ood", "--num-steps", 1)
    e = json.loads((trained / "evaluation-ood.json").read_text())
    assert (trained / "evaluation-ood.png").read_bytes().startswith(b"\x89PNG")
    assert f"Wrote {trained / 'evaluation-ood.json'} and {trained / 'evaluation-ood.png'}" in result.out
    for value in (*e["adaptation"]["mean"], *e["adaptation"]["iqm"], e["references"]["random"]["mean"]):
        assert f"{value:.2f}" in result.out
    assert "iteration 3" in result.out


def test_the_checkpoint_in_the_folder_is_the_one_evaluated(script, trained, make_run):
    untrained = make_run("untrained")
    untrained.save()
    before, after = (evaluated(script, path, "--num-tasks", 5) for path in (untrained.path, trained))
    assert (before["iteration"], after["iteration"]) == (0, 3)
    assert (before["env_steps"], after["env_steps"]) == (0, 3 * 2 * 2 * 3 * 5)
    assert before["per_task"] != after["per_task"]


def test_returns_that_are_not_finite_are_not_written(script, make_run, sentence, files):
    run = make_run(inner_lr=1e38)
    run.save()
    before = files(run.path)
    result = script("evaluate", run.path, "--num-tasks", 4)
    assert result.status == 1
    assert "On 4 of 4 tasks adaptation met a return that is not finite" in sentence(result.err)
    assert files(run.path) == before


def test_brackets_in_names_are_shown_and_cost_no_result(script, trained, tmp_path):
    """To rich, which draws the table, `[/tasks]` would be markup."""
    env = envs.make("point")
    tasks = envs.save_tasks(tmp_path / "[" / "tasks].json", "point", None, env, env.sample_tasks(3, Generator()))
    result = script("evaluate", trained, "--tasks", tasks)
    assert (result.status, result.err) == (0, "")
    assert "[/tasks].json" in "".join(result.out.split())
    assert (trained / "evaluation-tasks].json").exists()


@pytest.mark.parametrize(("name", "written"), [("evaluate", "evaluation-test.json"), ("diagnose", "diagnosis.json")])
def test_results_are_written_before_they_are_shown(script, trained, monkeypatch, name, written):
    def lost(self, *shown, **kwargs):  # a progress bar may go on
        if any(isinstance(x, str | Table) for x in shown):
            raise OSError("The screen is gone.")

    monkeypatch.setattr(Console, "print", lost)
    assert script(name, trained, "--num-tasks", 8, "--num-envs", 2).status == 1
    assert json.loads((trained / written).read_text())["num_tasks"] == 8
