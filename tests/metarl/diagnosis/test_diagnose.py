"""Diagnoses of runs that are good, and of runs that are broken on purpose."""

from __future__ import annotations

import pytest
import torch
from diagnoses import NAMES, changed, diagnosis, trained

from envs import InputError
from metarl.algorithms.base import Algorithm
from metarl.algorithms.maml import MAMLConfig
from metarl.algorithms.reptile import ReptileConfig
from metarl.diagnosis.diagnose import diagnose_run
from metarl.diagnosis.probe import DiagnosisConfig
from metarl.learning.rollout import player
from metarl.training.run import Run

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
    assert gain[0]["mean_ci95"][0] > 0 and control[0]["mean_ci95"][0] > 0
    returns = [x["mean"] for x in f["adaptation"].numbers["return after each step"]]
    assert gain[0]["mean"] == pytest.approx(returns[1] - returns[0], rel=1e-4)


@pytest.mark.parametrize(
    "algorithm",
    [
        ReptileConfig(inner_lr=0.5),
        MAMLConfig(learned_rates="parameter"),
        ReptileConfig(inner_loss="ppo", inner_optimizer="adam", inner_lr=0.02, inner_epochs=5),
    ],
)
def test_other_good_runs_have_no_problem(tmp_path, algorithm):
    d = diagnosis(trained(tmp_path / "run", algorithm))
    assert d.problems == set()
    assert d.findings["adaptation"].verdict == "ok"


def test_a_diagnosis_can_be_repeated_and_depends_on_the_seed(good):
    first, again, other = (diagnose_run(good, DiagnosisConfig(num_tasks=8, seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert first["findings"][1]["numbers"] != other["findings"][1]["numbers"]


def test_it_changes_nothing_in_the_run(good, files):
    before, params = files(good.path), good.algorithm.params.clone()
    diagnosis(good, num_tasks=8)
    assert files(good.path) == before
    assert torch.equal(good.algorithm.params, params)


def test_parameters_that_are_not_finite_end_the_diagnosis(good, tmp_path):
    run = changed(good, tmp_path / "run")
    run.algorithm.meta.fill_(torch.nan)  # no file holds such
    result = diagnose_run(run)
    assert [(f["name"], f["verdict"]) for f in result["findings"]] == [("training", "problem")]
    assert "the parameters are not finite" in result["sentence"]


def test_what_was_never_trained_is_refused(make_run, sentence):
    with pytest.raises(InputError) as error:
        diagnose_run(make_run())
    assert "holds no checkpoint.pt" in sentence(error)


def test_too_few_tasks_are_refused():
    with pytest.raises(InputError, match="num_tasks must be at least 8, not 7"):
        DiagnosisConfig(num_tasks=7)


class Plays(Algorithm):
    """A method of which only `play` is known."""

    name = "Plays"
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
