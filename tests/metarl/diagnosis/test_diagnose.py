"""Diagnoses of runs that are good, and of runs that are broken on purpose."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces

import envs
from envs import InputError
from metarl.algorithms.base import Algorithm
from metarl.algorithms.maml import MAMLConfig
from metarl.algorithms.recurrent_ppo import RecurrentPPOConfig
from metarl.algorithms.reptile import ReptileConfig
from metarl.diagnosis.diagnose import NUM_FINDINGS, diagnose
from metarl.diagnosis.probe import Probe
from metarl.learning.rollout import player
from metarl.policies.gru import GRUConfig
from metarl.policies.metanet import MetaNetConfig
from metarl.policies.mlp import MLPConfig
from metarl.training.config import TrainConfig, to_dict
from metarl.training.loop import train
from metarl.training.run import Run

NAMES = {
    "training", "adaptation", "inner step size", "hidden units", "baseline", "exploration", "leak", "other tasks",
}  # fmt: skip


def trained(path: Path, algorithm, policy=None, env="point", env_preset="finn2017", env_fields=None, **fields) -> Run:
    """A run of seconds, trained and saved."""
    sizes = {"num_iterations": 5, "meta_batch_size": 10, "num_envs": 10}
    config = TrainConfig(
        env, env_preset, policy=policy or MLPConfig((8, 8)), algorithm=algorithm, **{**sizes, **fields}
    )
    env_fields = {"horizon": 10} if env_fields is None else env_fields
    run = Run(path, "maml-point", config, envs.make_config(env, env_preset, **env_fields))
    run.create()
    train(run, quiet=True)
    return run


def changed(run: Run, path: Path, change=lambda state: None, **algorithm) -> Run:
    """The run once more, with other fields of its algorithm and a changed checkpoint."""
    shutil.copytree(run.path, path)
    config = json.loads((path / "config.json").read_text())
    config["train"]["algorithm"] |= algorithm
    (path / "config.json").write_text(json.dumps(config))
    state = torch.load(path / "checkpoint.pt", weights_only=True)
    change(state["algorithm"])
    torch.save(state, path / "checkpoint.pt")
    return Run.open(path)


def diagnosis(run: Run, num_tasks: int = 40, **options) -> SimpleNamespace:
    """Findings by name; each is complete, and the whole can be written as JSON."""
    result = diagnose(Probe.of(run, num_tasks=num_tasks, **options))
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    findings = {f["name"]: SimpleNamespace(**f) for f in result["findings"]}
    assert findings.keys() == NAMES and len(findings) == NUM_FINDINGS
    for f in findings.values():
        assert f.verdict in ("ok", "note", "problem", "does not apply")
        assert f.sentence.endswith(".") and "\n" not in f.sentence
        assert f.numbers or f.verdict == "does not apply" or "cannot" in f.sentence
        named = set(re.findall(r"--[a-z-]+", f.next or "")) if "diagnose.py" not in (f.next or "") else set()
        assert named <= options_of(to_dict(run.config)), f.next
    return SimpleNamespace(result=result, findings=findings, problems={n for n, f in findings.items()
        if f.verdict == "problem"})  # fmt: skip


def options_of(config: dict) -> set[str]:
    """Of train.py for such a run."""
    nested = [options_of(value) for value in config.values() if isinstance(value, dict)]
    return {"--resume"}.union({f"--{name.replace('_', '-')}" for name in config}, *nested)


def suggested(finding: SimpleNamespace, option: str) -> float:
    words = finding.next.replace(",", " ").split()
    return float(words[words.index(option) + 1])


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Run:
    return trained(tmp_path_factory.mktemp("good") / "maml", MAMLConfig())


@pytest.fixture(scope="module")
def relu(tmp_path_factory) -> Run:
    return trained(tmp_path_factory.mktemp("relu") / "run", MAMLConfig(), MLPConfig((32, 32), "relu"))


# --- Good runs ---------------------------------------------------------------------------------------------------


def test_a_good_run_of_maml_has_no_problem(good):
    d = diagnosis(good)
    assert d.problems == set()
    f = d.findings
    assert {n: f[n].verdict for n in NAMES - {"training", "other tasks"}} == dict.fromkeys(
        NAMES - {"training", "other tasks"}, "ok"
    )
    assert d.result["sentence"].startswith("Adaptation helps. ")
    gain, control = (f["adaptation"].numbers[k] for k in ("gain after each step", "gain beyond the control"))
    assert len(gain) == len(control) == 3
    assert gain[0]["ci95"][0] > 0 and control[0]["ci95"][0] > 0
    returns = [x["mean"] for x in f["adaptation"].numbers["return after each step"]]
    assert gain[0]["mean"] == pytest.approx(returns[1] - returns[0], rel=1e-4)


@pytest.mark.parametrize(
    "algorithm",
    [ReptileConfig(inner_lr=0.5), MAMLConfig(learned_rates="parameter"),
     ReptileConfig(inner_loss="ppo", inner_optimizer="adam", inner_lr=0.02, inner_epochs=5)],
)  # fmt: skip
def test_other_good_runs_have_no_problem(tmp_path, algorithm):
    d = diagnosis(trained(tmp_path / "run", algorithm))
    assert d.problems == set()
    assert d.findings["adaptation"].verdict == "ok"


def test_a_diagnosis_can_be_repeated_and_depends_on_the_seed(good):
    first, again, other = (diagnose(Probe.of(good, num_tasks=8, seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert first["findings"][1]["numbers"] != other["findings"][1]["numbers"]


def test_it_changes_nothing_in_the_run(good, files):
    before, params = files(good.path), good.algorithm.params.clone()
    diagnosis(good, num_tasks=8)
    assert files(good.path) == before
    assert torch.equal(good.algorithm.params, params)


# --- The inner step ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "word"), [(0, "is 0"), (1 / 64, "too small"), (100, "too large")])
def test_a_wrong_inner_step_size_is_named_and_the_suggestion_mends_it(good, tmp_path, factor, word):
    d = diagnosis(changed(good, tmp_path / "broken", inner_lr=0.1 * factor))
    finding = d.findings["inner step size"]
    assert finding.verdict == "problem" and word in finding.sentence
    assert "adaptation" in d.problems or word == "too small"
    assert "inner step size" in d.result["sentence"]
    lr = suggested(finding, "--inner-lr")
    mended = diagnosis(changed(good, tmp_path / "mended", inner_lr=lr))
    assert mended.problems == set(), lr
    assert mended.findings["adaptation"].verdict == "ok"


def test_training_with_a_hundred_times_the_step_is_found(tmp_path):
    d = diagnosis(trained(tmp_path / "run", MAMLConfig(inner_lr=10.0)))
    assert "inner step size" in d.problems
    assert "too large" in d.findings["inner step size"].sentence
    assert suggested(d.findings["inner step size"], "--inner-lr") < 2


def test_training_without_a_step_is_found(tmp_path):
    d = diagnosis(trained(tmp_path / "run", MAMLConfig(inner_lr=0.0)))
    assert {"inner step size", "adaptation"} <= d.problems
    assert "so adaptation changes nothing" in d.findings["inner step size"].sentence
    assert 0.01 < suggested(d.findings["inner step size"], "--inner-lr") < 2


def test_a_step_that_leaves_the_numbers_is_found(relu, tmp_path):
    d = diagnosis(changed(relu, tmp_path / "run", inner_lr=1e38), num_tasks=8)
    assert {"adaptation", "inner step size"} <= d.problems
    assert "diverges" in d.findings["adaptation"].sentence
    assert "not finite" in d.findings["inner step size"].sentence
    assert d.findings["other tasks"].verdict == "does not apply"


# --- The network -------------------------------------------------------------------------------------------------


def layers(run: Run, state: dict) -> list[torch.Tensor]:
    """Views of the parameters in a checkpoint: layers [out, in + 1], and free ones."""
    views, free = run.algorithm.policy.unflatten(state["params"].unsqueeze(0))
    return [*(view[0] for view in views), free[0]]


def test_dead_relu_units_are_found(relu, tmp_path):
    assert diagnosis(relu, num_tasks=8).findings["hidden units"].verdict != "problem"

    def kill(state):
        layers(relu, state)[1][:, -1] = -100

    found = diagnosis(changed(relu, tmp_path / "dead", kill), num_tasks=8)
    finding = found.findings["hidden units"]
    assert finding.verdict == "problem" and "100% of the units in hidden layer 2 are never active" in finding.sentence
    assert finding.numbers["useless units in each layer"][1] == 1

    def kill_half(state):
        layers(relu, state)[0][:16, -1] = -100

    finding = diagnosis(changed(relu, tmp_path / "half", kill_half), num_tasks=8).findings["hidden units"]
    assert finding.verdict == "note" and "% of the units in hidden layer 1" in finding.sentence
    assert 0.5 <= finding.numbers["useless units in each layer"][0] < 0.8


def test_saturated_tanh_units_are_found(good, tmp_path):
    def saturate(state):
        layers(good, state)[0][:, -1] = 50

    finding = diagnosis(changed(good, tmp_path / "run", saturate), num_tasks=8).findings["hidden units"]
    assert finding.verdict == "problem" and "100% of the units in hidden layer 1 are saturated" in finding.sentence


def test_units_that_see_one_observation_are_not_called_dead(tmp_path):
    run = trained(
        tmp_path / "run", MAMLConfig(inner_lr=1.0), env="bernoulli-bandit", env_preset="k5-n10", env_fields={},
        num_iterations=1,
    )  # fmt: skip

    def saturate(state):
        layers(run, state)[0][:, -1] = 50

    finding = diagnosis(changed(run, tmp_path / "saturated", saturate), num_tasks=8).findings["hidden units"]
    assert finding.verdict == "does not apply" and "observations are the same" in finding.sentence


def test_a_policy_without_hidden_layers_has_no_hidden_units(tmp_path):
    run = trained(tmp_path / "run", MAMLConfig(), MLPConfig(()), num_iterations=1)
    assert diagnosis(run, num_tasks=8).findings["hidden units"].verdict == "does not apply"


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


@pytest.mark.parametrize(("value_lr", "verdicts"), [(0.0, ["problem"]), (0.03, ["ok", "note"])])
def test_a_value_network_that_was_not_trained_is_found(tmp_path, value_lr, verdicts):
    d = diagnosis(trained(tmp_path / "run", MAMLConfig(baseline="value", value_lr=value_lr)))
    finding = d.findings["baseline"]
    assert finding.verdict in verdicts
    assert finding.numbers["linear fit for all tasks"] > 0.3
    assert (finding.numbers["value network"] < 0.1) == (value_lr == 0)
    if value_lr == 0:
        assert suggested(finding, "--value-lr") == 1e-3


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


def register(monkeypatch, name, env_class):
    family = envs.Family(name, f"metarl/{name}-v0", env_class, {"a": envs.point.PointConfig(horizon=10)})
    monkeypatch.setitem(envs.FAMILIES, name, family)
    return {"env": name, "env_preset": "a"}


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
        return super().sample_tasks(n, generator, "ood" if split == "test" else split)


def test_held_out_tasks_that_fare_worse_are_found(tmp_path, monkeypatch):
    run = trained(tmp_path / "run", MAMLConfig(), **register(monkeypatch, "memorized", Memorized))
    finding = diagnosis(run).findings["other tasks"]
    assert finding.verdict == "problem" and "training tasks do better by +" in finding.sentence
    assert "--meta-batch-size 20" in finding.next


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
    assert d.findings["adaptation"].numbers["gain after each step"][0]["ci95"][0] > 0


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
    from metarl.diagnosis.run_findings import training

    run = with_metrics(make_run(num_iterations=len(values)), values)
    finding = training(Probe.of(run))
    assert (finding.verdict, words in finding.sentence) == (verdict, True), finding.sentence


def test_a_run_that_stopped_early_is_told_how_to_go_on(make_run):
    from metarl.diagnosis.run_findings import training

    run = with_metrics(make_run(num_iterations=40), NOISE)
    run.iteration = 20
    finding = training(Probe.of(run))
    assert finding.verdict == "note" and "20 of 40 meta-iterations" in finding.sentence
    assert finding.next == f"--resume {run.path}"


def test_a_run_that_never_left_its_pretraining_is_found(make_run):
    run = make_run(num_iterations=3, algorithm=MAMLConfig(pretrain_iterations=5))
    train(run, quiet=True)
    finding = diagnosis(run, num_tasks=8).findings["training"]
    assert finding.verdict == "problem" and "all of them pretraining without inner steps, which lasts 5" in (
        finding.sentence
    )


def test_parameters_that_are_not_finite_end_the_diagnosis(good, tmp_path):
    run = changed(good, tmp_path / "run")
    run.algorithm.meta.fill_(torch.nan)  # no file holds such
    result = diagnose(Probe.of(run))
    assert [(f["name"], f["verdict"]) for f in result["findings"]] == [("training", "problem")]
    assert "the parameters are not finite" in result["sentence"]


def test_what_was_never_trained_is_refused(make_run, sentence):
    with pytest.raises(InputError) as error:
        diagnose(Probe.of(make_run()))
    assert "holds no checkpoint, so nothing was trained" in sentence(error)


def test_too_few_tasks_are_refused(good, sentence):
    with pytest.raises(InputError) as error:
        diagnose(Probe.of(good, num_tasks=7))
    assert "num_tasks must be at least 8, not 7." in sentence(error)


# --- Policies with a memory, and other methods -------------------------------------------------------------------


def trial_run(path: Path, policy, num_episodes: int, horizon: int, num_iterations: int) -> Run:
    return trained(
        path, RecurrentPPOConfig(num_episodes=num_episodes, lr=5e-3, epochs=4), policy, "bernoulli-bandit", "k5-n10",
        {"horizon": horizon, "num_arms": 2}, num_iterations=num_iterations, meta_batch_size=100, num_envs=1,
    )  # fmt: skip


@pytest.mark.parametrize(("episodes", "horizon", "control"), [(1, 8, "another task's rewards"), (3, 4, "emptied")])
def test_a_memory_that_learned_helps(tmp_path, episodes, horizon, control):
    d = diagnosis(trial_run(tmp_path / "run", GRUConfig(16), episodes, horizon, 16), num_tasks=1000)
    assert d.problems == set()
    f = d.findings["adaptation"]
    assert f.verdict == "ok" and control in f.sentence and "identifies the task" in f.sentence
    references = f.numbers["references at start and end"]
    assert references["random"][1] < f.numbers["end"]["mean"] < references["clairvoyant"][1]
    assert {n for n, f in d.findings.items() if f.verdict == "does not apply"} == {"inner step size", "hidden units"}


@pytest.mark.parametrize("episodes", [1, 3])
def test_without_a_memory_nothing_is_gained(tmp_path, episodes):
    config = MetaNetConfig(memory="none", hidden_size=16)
    d = diagnosis(trial_run(tmp_path / "run", config, episodes, 5, 3), num_tasks=1000)
    assert d.findings["adaptation"].verdict != "ok"
    low, high = d.findings["adaptation"].numbers["gain beyond the control"]["ci95"]
    assert low < 0 < high
    assert "--memory linear" in d.findings["adaptation"].next


class Plays(Algorithm):
    """A method of which only `play` is known."""

    params = collect = update = state_dict = load_state_dict = None

    def __init__(self, other):
        self.other, self.params = other.inner, other.params

    def play(self, env, num_envs, generator, stages):
        adapters = self.other.adapters(stages.num_steps)
        return player(env, self.other.policy, self.other.params, adapters, num_envs, generator)


def test_a_method_that_only_plays_gets_what_applies(good):
    run = Run.open(good.path)
    run.algorithm = Plays(run.algorithm)
    d = diagnosis(run)
    assert d.findings["adaptation"].verdict == "ok" and "no control" in d.findings["adaptation"].sentence
    known = {n for n, f in d.findings.items() if f.verdict != "does not apply"}
    assert known == {"training", "adaptation", "leak", "other tasks"}
