"""New runs and runs to go on with, as a Python user makes them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import envs
import metarl
from envs.errors import InputError
from metarl.training.presets import preset
from metarl.training.start import new_run, resume_run

SMALL = replace(preset("maml-point"), num_iterations=2, meta_batch_size=2, num_envs=3)
SHORT = envs.make_config("point", horizon=5)


def test_a_new_run_is_trained_and_gone_on_with(tmp_path):
    run = new_run("maml-point", tmp_path / "run", SMALL, SHORT)
    assert run.is_new and not run.path.exists()
    assert metarl.train(run, quiet=True) is run
    assert not run.is_new and run.iteration == 2
    again = resume_run(run.path, num_iterations=3)
    assert again.iteration == 2 and again.algorithm.params.equal(run.algorithm.params)
    metarl.train(again, quiet=True)
    longer = new_run("maml-point", tmp_path / "longer", replace(SMALL, num_iterations=3), SHORT)
    metarl.train(longer, quiet=True)
    assert torch.equal(again.algorithm.params, longer.algorithm.params)


def test_a_folder_that_holds_a_run_is_refused_and_kept(tmp_path, files):
    metarl.train(new_run("maml-point", tmp_path / "run", SMALL, SHORT), quiet=True)
    before = files(tmp_path)
    with pytest.raises(InputError, match="already holds this run"):
        metarl.train(new_run("maml-point", tmp_path / "run", SMALL, SHORT), quiet=True)
    assert files(tmp_path) == before


def test_a_fresh_policy_is_saved(tmp_path):
    run = new_run("maml-point", tmp_path / "run", replace(SMALL, num_iterations=0), SHORT)
    assert metarl.train(run) is run
    assert resume_run(run.path).algorithm.params.equal(run.algorithm.params)


def test_bad_input_is_named(tmp_path):
    with pytest.raises(InputError, match="maml-point"):
        new_run("maml-pont", tmp_path / "run")
    with pytest.raises(InputError, match="choose smaller sizes"):
        new_run("maml-point", tmp_path / "run", replace(SMALL, meta_batch_size=10**12))
    with pytest.raises(InputError, match="no run folder"):
        resume_run(tmp_path / "none")
    assert not list(tmp_path.iterdir())
