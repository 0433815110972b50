"""The run folder: made once, written atomically, read with care."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from pathlib import Path

import pytest
import torch
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


# --- A damaged config.json ---------------------------------------------------------------------------------------


def edit(**train):
    return lambda text: json.dumps({**json.loads(text), "train": {**json.loads(text)["train"], **train}})


def without(*names, of=None):
    def cut(text):
        description = json.loads(text)
        fields = description["train"][of] if of else description["train"]
        for name in names:
            del fields[name]
        return json.dumps(description)

    return cut


def nested(depth: int) -> list:
    out: list = []
    for _ in range(depth):
        out = [out]
    return out


DAMAGE = {
    "empty": (lambda text: "", "is damaged: it is not JSON"),
    "cut short": (lambda text: text[: len(text) // 2], "is damaged: it is not JSON"),
    "binary": (lambda text: b"\xff\xfe\x00\x81", "is damaged: it is not JSON"),
    "a list": (lambda text: "[1, 2]", "it is not a JSON object"),
    "a number": (lambda text: "3", "it is not a JSON object"),
    "no fields": (lambda text: "{}", "the field 'train' is missing"),
    "train is a list": (lambda text: '{"preset": "x", "train": [], "env": {"config": {}}}', "damaged"),
    "unknown field": (edit(momentum=0.9), "TrainConfig has no field 'momentum'"),
    "unknown nested field": (edit(policy={"depth": 3}), "MLPConfig has no field 'depth'"),
    "unknown kind": (edit(algorithm={"kind": "PPOConfig"}),
        "algorithm cannot be of kind 'PPOConfig', only of MAMLConfig or ReptileConfig"),
    "unknown nested kind": (edit(algorithm={"kind": "MAMLConfig", "outer": {"kind": "SGDConfig"}}),
        "outer cannot be of kind 'SGDConfig', only of TRPOConfig or AdamConfig"),
    "a kind of another field": (edit(policy={"kind": "AdamConfig", "clip": 0.1}),
        "policy cannot be of kind 'AdamConfig', only of MLPConfig"),
    "a kind that is none": (edit(algorithm={"kind": ["MAMLConfig"]}), "damaged"),
    "an algorithm that is none": (edit(algorithm="MAML"), "algorithm cannot be 'MAML'"),
    "a field of another kind": (edit(algorithm={"kind": "ReptileConfig", "estimator": "lvc"}),
        "ReptileConfig has no field 'estimator'"),
    "a method before its kinds": (edit(algorithm={"inner_lr": 0.1, "first_order": False, "max_kl": 0.01}),
        "damaged or of another version: MAMLConfig has no field 'first_order'"),
    "wrong type": (edit(num_envs="many"), "num_envs cannot be 'many' where 20 is right"),
    "a fraction of a task": (edit(meta_batch_size=2.5), "meta_batch_size cannot be 2.5 where 20 is right"),
    "a truth for a number": (edit(meta_batch_size=True), "meta_batch_size cannot be True where 20 is right"),
    "deeply nested": (lambda text: "[" * 100_000, "is damaged: it is not JSON, or too deeply nested"),
    "deeply nested field": (edit(policy=nested(200)), "policy cannot be"),
    "missing fields": (without("meta_batch_size", "num_envs"), "TrainConfig lacks 'meta_batch_size', 'num_envs';"),
    "missing nested field": (without("inner_lr", of="algorithm"), "MAMLConfig lacks 'inner_lr';"),
    "missing kind": (without("kind", of="policy"), "policy lacks 'kind';"),
    "missing environment field": (lambda text: text.replace('"horizon": 5', '"goal_scale": 1.0'),
        "PointConfig lacks 'horizon';"),
    "a preset that is none": (lambda text: text.replace('"maml-point"', "3"), "the preset is 3"),
    "impossible": (edit(meta_batch_size=0), "meta_batch_size must be at least 1"),
    "null": (edit(num_envs=None), "damaged"),
    "unknown preset": (edit(env_preset="finn2016"), "Did you mean 'finn2017'"),
    "unknown family": (edit(env="plane"), "'plane', which is not registered"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_config_is_named_in_one_sentence(make_run, case, sentence):
    run = make_run()
    spoil, words = DAMAGE[case]
    file = run.path / "config.json"
    content = spoil(file.read_text())
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as error:
        Run.open(run.path)
    assert words in sentence(error)


def test_what_is_no_run_folder(tmp_path, sentence):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name, words in (("none", "There is no run folder"), ("file", "no run folder"), ("empty", "no config.json")):
        with pytest.raises(InputError) as error:
            Run.open(tmp_path / name)
        assert words in sentence(error)


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
