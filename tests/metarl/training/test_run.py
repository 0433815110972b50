"""The run folder: made once, written atomically, read with care."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path

import pytest
import torch
from agents import saved_run
from bits import changed, same_state

import envs
from envs import InputError
from metarl.training.loop import train
from metarl.training.run import Run

# --- Making and opening ------------------------------------------------------------------------------------------


def test_a_run_opens_as_it_was_made(make_run):
    run = make_run(seed=3, hidden_sizes=(4, 3), inner_lr=0.25, horizon=7)
    again = Run.open(run.path)
    assert (again.config, again.env_config, again.preset) == (run.config, run.env_config, run.preset)
    assert again.config.policy.hidden_sizes == (4, 3)
    assert again.env.horizon == 7
    assert same_state(run, again)


def test_a_saved_run_opens_where_it_was(make_run):
    run = changed(make_run())
    run.save()
    assert same_state(run, Run.open(run.path))
    assert not same_state(run, make_run("other"))


def test_opening_writes_nothing(make_run, files):
    run = make_run()
    run.save()
    before = files(run.path)
    Run.open(run.path, num_iterations=99)
    assert files(run.path) == before


def test_a_number_of_iterations_replaces_the_configured_one(make_run):
    run = make_run(num_iterations=6)
    assert Run.open(run.path).config.num_iterations == 6
    assert Run.open(run.path, num_iterations=9).config.num_iterations == 9
    with pytest.raises(InputError, match="num_iterations must be at least 0, not -1"):
        Run.open(run.path, num_iterations=-1)


def test_a_folder_that_holds_a_run_is_not_taken(make_run, files, sentence):
    run = changed(make_run(seed=1))
    run.save()
    before = files(run.path)
    with pytest.raises(InputError) as same:
        make_run(seed=1)
    assert "already holds this run; go on with it by --resume" in sentence(same)
    with pytest.raises(InputError) as other:
        make_run(seed=2)
    assert "another configuration (seed is 1 there and 2 here)" in sentence(other)
    assert files(run.path) == before


@pytest.mark.parametrize("name", ["checkpoint.pt", "metrics.jsonl"])
def test_what_a_lost_config_leaves_behind_is_not_overwritten(make_run, name, files, sentence):
    run = make_run()
    (run.path / name).write_text("something")
    (run.path / "config.json").unlink()
    before = files(run.path)
    with pytest.raises(InputError) as error:
        make_run()
    assert f"holds a {name} without its config.json" in sentence(error)
    assert files(run.path) == before


def test_a_run_folder_that_cannot_be_made(make_run, tmp_path, monkeypatch, sentence):
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/below"):
        with pytest.raises(InputError) as error:
            make_run(place)
        assert "cannot be made" in sentence(error)
    assert (tmp_path / "file").read_text() == "mine"

    def refuse(path, *args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)  # root may write everywhere, so it is asked of no real folder
    with pytest.raises(InputError) as error:
        make_run("elsewhere")
    assert "cannot be made: Permission denied" in sentence(error)


def test_a_family_with_fields_of_other_types_comes_back_as_it_was(make_run, monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Wind:
        speed: float = 0.0

    @dataclasses.dataclass(frozen=True)
    class Config(envs.point.PointConfig):
        gravity: float = 1  # a float by its annotation
        masses: tuple[float, ...] = (1.0, 2.0)
        label: str | None = None
        wind: Wind = dataclasses.field(default_factory=Wind)

    monkeypatch.setitem(
        envs.FAMILIES, "own", envs.Family("own", "metarl/Own-v0", envs.point.Point, {"a": Config(horizon=5)})
    )
    run = make_run("first")
    config = dataclasses.replace(run.config, env="own", env_preset="a")
    own = Config(horizon=5, gravity=0.5, masses=(3.0,), label="x", wind=Wind(2.0))
    Run(run.path.with_name("own"), "maml-point", config, own).create()
    assert Run.open(run.path.with_name("own")).env_config == own
    monkeypatch.delitem(envs.FAMILIES, "own")
    with pytest.raises(InputError, match=r"environment 'own', which is not registered; name the module .* --imports"):
        Run.open(run.path.with_name("own"))


def test_a_run_that_lost_its_checkpoint_does_not_start_over(make_run, files, sentence):
    """Started over, it cut its log."""
    run = make_run()
    train(run, quiet=True)
    (run.path / "checkpoint.pt").unlink()
    before = files(run.path)
    with pytest.raises(InputError) as error:
        Run.open(run.path, num_iterations=8)
    assert "lost its checkpoint.pt" in sentence(error) and "iteration 6" in str(error.value)
    assert files(run.path) == before
    (run.path / "metrics.jsonl").unlink()
    assert Run.open(run.path).iteration == 0, "as it says"


def test_an_error_takes_back_what_was_changed(make_run):
    run, untouched = changed(make_run()), changed(make_run("other"))
    with pytest.raises(ZeroDivisionError), run.undone_on_error():
        run.algorithm.params.fill_(float("nan"))  # in place, as an optimizer would
        torch.rand(3, generator=run.generator)
        run.iteration, run.env_steps, run.seconds = 5, 300, 2.0
        _ = 1 / 0
    assert same_state(run, untouched)
    with run.undone_on_error():
        run.iteration = 5
    assert run.iteration == 5


def test_a_policy_that_does_not_fit_other_options_is_said_to_be_that(tmp_path, sentence):
    run = saved_run(tmp_path / "run", "rl2", policy={"cell": "transformer", "hidden_size": 8})
    with pytest.raises(InputError) as error:
        Run.open(run.path, options={"horizon": 9})
    assert "horizon 9" in sentence(error) and "config.json" not in str(error.value)
