"""What a diagnosis says about the run: observations that hold the task, the log."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from diagnoses import changed, diagnosis, layers, normal, register, trained
from gymnasium import spaces

import envs
from metarl.algorithms.maml import MAMLConfig
from metarl.diagnosis.probe import DiagnosisConfig, Probe
from metarl.diagnosis.run_findings import decodable, training
from metarl.training.loop import train
from metarl.training.run import Run


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


def test_collapsed_exploration_is_found(good, tmp_path):
    def freeze(state):
        layers(good, state)[-1][:] = -6

    finding = diagnosis(changed(good, tmp_path / "run", freeze), num_tasks=8).findings["exploration"]
    assert finding.verdict == "problem" and "0.0025 of half the action range" in finding.sentence


def test_collapsed_discrete_exploration_is_found(tmp_path):
    env = {"env": "gridworld", "env_preset": "varibad-one-hot", "env_fields": {}}
    run = trained(tmp_path / "run", MAMLConfig(inner_lr=1.0), num_iterations=1, **env)
    assert diagnosis(run, num_tasks=8).findings["exploration"].verdict == "ok"

    def prefer_one(state):
        layers(run, state)[-2][0, -1] = 20

    found = diagnosis(changed(run, tmp_path / "one", prefer_one), num_tasks=8)
    finding = found.findings["exploration"]
    assert finding.verdict == "problem" and "0% of that of 5 equally likely actions" in finding.sentence
    sentence = found.findings["adaptation"].sentence
    assert sentence.startswith("Adaptation does not help:") and "tells tasks apart" not in sentence


# --- The tasks ---------------------------------------------------------------------------------------------------


class Telling(envs.point.Point):
    """2D navigation whose observation holds the goal."""

    def __init__(self, config, device):
        super().__init__(config, device)
        self.observation_space = spaces.Box(-20, 20, (4,), np.float32)

    def reset(self, task, num_envs, generator):
        state, obs = super().reset(task, num_envs, generator)
        return state, self.with_goal(obs, task)

    def step(self, task, state, action, generator):
        result = super().step(task, state, action, generator)
        return dataclasses.replace(result, obs=self.with_goal(result.obs, task))

    def with_goal(self, obs, task):
        return torch.cat([obs, task.goal[:, None].expand_as(obs)], -1)


def test_an_observation_that_holds_the_goal_is_found(tmp_path, monkeypatch):
    run = trained(tmp_path / "run", MAMLConfig(), num_iterations=1, **register(monkeypatch, "telling", Telling))
    finding = diagnosis(run).findings["leak"]
    assert finding.verdict == "problem" and "the task's goal (R² 1.00" in finding.sentence
    assert "--inner-lr 0" in finding.next


class Slanted(envs.point.Point):
    """A wind that differs between tasks blows towards the goal: the way that the point takes shows the task."""

    def step(self, task, state, action, generator):
        return super().step(task, state, action + 2 * task.goal[:, None], generator)


def test_dynamics_that_show_the_task_are_no_problem_but_noted(tmp_path, monkeypatch):
    run = trained(tmp_path / "run", MAMLConfig(), num_iterations=1, **register(monkeypatch, "slanted", Slanted))
    finding = diagnosis(run).findings["leak"]
    assert finding.verdict == "note" and "mean observation does: goal" in finding.sentence


class Memorized(envs.point.Point):
    """The held-out tasks lie elsewhere."""

    def sample_tasks(self, n, generator, split="train"):
        return super().sample_tasks(n, generator, "ood" if split == "validation" else split)


def test_held_out_tasks_that_fare_worse_are_found(tmp_path, monkeypatch):
    run = trained(tmp_path / "run", MAMLConfig(), **register(monkeypatch, "memorized", Memorized))
    finding = diagnosis(run).findings["other tasks"]
    assert finding.verdict == "problem" and "training tasks do better by +" in finding.sentence
    assert "--meta-batch-size 20" in finding.next


# --- Training ----------------------------------------------------------------------------------------------------


def with_metrics(run: Run, values) -> Run:
    lines = [json.dumps({"iteration": k, "return_0": -9.0, "return_1": float(v)}) for k, v in enumerate(values)]
    (run.path / "metrics.jsonl").write_text("\n".join([*lines, '{"iteration": 5, "ret']))
    run.iteration = run.config.num_iterations
    return run


NOISE = np.random.default_rng(0).normal(size=40)


@pytest.mark.parametrize(
    ("values", "verdict", "words"),
    [
        (NOISE, "ok", "which is no trend"),
        (NOISE + np.arange(40), "note", "it still rises"),
        (NOISE - np.arange(40), "note", "it falls"),
        (np.r_[np.arange(30), 30 + NOISE[:10]], "ok", "no trend"),
        (NOISE[:7], "ok", "too few are logged to see a trend"),
        ([*NOISE, np.nan], "problem", "1 training returns are not finite"),
    ],
)
def test_the_trend_of_the_last_quarter(make_run, values, verdict, words):
    run = with_metrics(make_run(num_iterations=len(values)), values)
    finding = training(Probe.of(run, DiagnosisConfig()))
    assert (finding.verdict, words in finding.sentence) == (verdict, True), finding.sentence


def test_a_run_that_stopped_early_is_told_how_to_go_on(make_run):
    run = with_metrics(make_run(num_iterations=40), NOISE)
    run.iteration = 20
    finding = training(Probe.of(run, DiagnosisConfig()))
    assert finding.verdict == "note" and "20 of 40 meta-iterations" in finding.sentence
    assert finding.next == f"--resume {run.path}"


def test_a_run_that_never_left_its_pretraining_is_found(make_run):
    run = make_run(num_iterations=3, algorithm=MAMLConfig(pretrain_iterations=5))
    train(run, quiet=True)
    finding = diagnosis(run, num_tasks=8).findings["training"]
    assert finding.verdict == "problem" and "all of them pretraining without inner steps, which lasts 5" in (
        finding.sentence
    )
