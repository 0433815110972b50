"""MMER, by hand and in an evaluation."""

from __future__ import annotations

import pytest

from metarl.evaluation.evaluate import EvaluationConfig, evaluate_run
from metarl.evaluation.mmer import mmer
from metarl.training.config import from_dict
from metarl.training.loop import train
from metarl.training.presets import preset
from metarl.training.start import new_run


def rows(*returns: float, steps: int = 10):
    return [{"env_steps": steps * k, "return_0": x, "entropy": 9.0} for k, x in enumerate(returns, 1)]


def test_it_is_the_largest_mean_of_an_epoch():
    assert mmer(rows(1.0, 5.0, 2.0, 2.0, 0.0, 0.0), 20) == {"value": 3.0, "epochs": 3, "epoch_steps": 20}
    assert mmer(rows(1.0, 5.0, 2.0), 10)["value"] == 5.0


def test_steps_that_make_no_whole_epoch_are_left_out():
    assert mmer(rows(1.0, 1.0, 9.0), 15) == {"value": 1.0, "epochs": 1, "epoch_steps": 15}
    assert mmer(rows(1.0), 20) is None and mmer([], 20) is None


def test_all_episodes_of_a_trial_count():
    assert mmer([{"env_steps": 10, "return_0": 1.0, "return_1": 3.0}], 10)["value"] == 2.0


@pytest.mark.parametrize(("game", "reported"), [("repeat-previous", True), ("gridworld", False)])
def test_an_evaluation_holds_it_where_the_field_reports_it(tmp_path, monkeypatch, game, reported):
    monkeypatch.setattr("envs.popgym.env.CardGame.mmer_steps", 2 * 51)
    small = {"num_iterations": 2, "meta_batch_size": 2, "eval_num_tasks": 2, "policy": {"hidden_size": 4}}
    run = new_run(f"rl2-{game}", tmp_path / "run", from_dict(preset(f"rl2-{game}"), small))
    train(run, quiet=True)
    result = evaluate_run(run, EvaluationConfig(references=False))
    assert (result["mmer"]["epochs"] == 2 and -1 <= result["mmer"]["value"] <= 1) if reported else "mmer" not in result
