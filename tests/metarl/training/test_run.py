"""The run folder: made once, written atomically, read with care."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pickle
import random
import resource
import shutil
import warnings
from pathlib import Path

import pytest
import torch

import envs
from envs import InputError
from metarl.training.loop import train
from metarl.training.run import Run


def same_state(a: Run, b: Run) -> bool:
    return (
        torch.equal(a.algorithm.params, b.algorithm.params)
        and torch.equal(a.generator.get_state(), b.generator.get_state())
        and (a.iteration, a.env_steps, a.seconds) == (b.iteration, b.env_steps, b.seconds)
    )


def changed(run: Run) -> Run:
    """As some training would leave it."""
    run.algorithm.meta = run.algorithm.meta + torch.rand(len(run.algorithm.meta), generator=run.generator)
    run.iteration, run.env_steps, run.seconds = 4, 240, 1.5
    return run


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


# --- A damaged or foreign checkpoint -----------------------------------------------------------------------------


class Exploit:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def refused(run: Run, sentence) -> str:
    with warnings.catch_warnings(record=True) as seen, pytest.raises(InputError) as error:
        Run.open(run.path)
    assert not seen
    assert str(run.path / "checkpoint.pt") in sentence(error)
    return str(error.value)


def test_a_truncated_checkpoint_is_refused(make_run, sentence):
    run = make_run()
    run.save()
    whole = (run.path / "checkpoint.pt").read_bytes()
    for length in (0, 1, 4, 100, len(whole) // 2, len(whole) - 100, len(whole) - 1):
        (run.path / "checkpoint.pt").write_bytes(whole[:length])
        assert "truncated or not a checkpoint" in refused(run, sentence)
    (run.path / "checkpoint.pt").write_bytes(whole)
    assert Run.open(run.path).iteration == 0


def test_a_checkpoint_with_a_changed_bit_is_refused(make_run, sentence):
    """Zip archives have checksums, and torch.load looks at none of them."""
    run = changed(make_run())
    run.save()
    file, chance = run.path / "checkpoint.pt", random.Random(0)
    whole = file.read_bytes()
    places = [chance.randrange(len(whole)) for _ in range(60)]
    for place in [0, whole.index(b"data.pkl"), *places, -100, -70, -1]:
        content = bytearray(whole)
        content[place] ^= 1 << chance.randrange(8) if place % 2 else chance.randrange(1, 256)
        file.write_bytes(content)
        refused(run, sentence)
    file.write_bytes(whole)
    assert same_state(Run.open(run.path), run)
    assert torch.load(file, weights_only=True)["iteration"] == run.iteration, "as anybody would read it"


def test_a_checkpoint_of_an_older_version_is_checked_as_far_as_it_can_be(make_run, sentence, capfd):
    run = changed(make_run())
    file = run.path / "checkpoint.pt"
    torch.save(run.state_dict(), file)
    assert same_state(Run.open(run.path), run)
    assert "older version" in sentence(capfd.readouterr().err)
    content = bytearray(file.read_bytes())
    content[content.index(run.algorithm.params.numpy().tobytes())] ^= 1
    file.write_bytes(content)
    assert "is damaged" in refused(run, sentence)


@pytest.mark.parametrize("content", [b"hello\n", b"\x80\x04.", b"\x80\x02}q\x00.", bytes(range(256)), b"PK\x03\x04"])
def test_any_other_file_is_refused(make_run, content, sentence):
    run = make_run()
    (run.path / "checkpoint.pt").write_bytes(content)
    refused(run, sentence)


def test_a_malicious_checkpoint_is_refused_and_not_run(make_run, tmp_path, sentence):
    run = make_run()
    trace = tmp_path / "trace"
    exploit = {**run.state_dict(), "seconds": Exploit(trace)}
    torch.save(exploit, run.path / "checkpoint.pt")
    assert "not a checkpoint" in refused(run, sentence)
    (run.path / "checkpoint.pt").write_bytes(pickle.dumps(exploit["seconds"]))
    refused(run, sentence)
    assert not trace.exists()
    pickle.loads((run.path / "checkpoint.pt").read_bytes())
    assert trace.exists(), "the exploit would have worked"


FOREIGN = {
    "a list": lambda state: [1, 2],
    "a tensor": lambda state: torch.zeros(3),
    "something else": lambda state: {"model": torch.zeros(3)},
    "no generator": lambda state: {k: v for k, v in state.items() if k != "generator"},
    "no parameters": lambda state: {**state, "algorithm": {}},
    "parameters that are none": lambda state: {**state, "algorithm": {"params": "many"}},
    "no outer optimizer": lambda state: {**state, "algorithm": {"params": state["algorithm"]["params"]}},
    "an iteration that is none": lambda state: {**state, "iteration": "last"},
    "a negative iteration": lambda state: {**state, "iteration": -1},
    "an iteration that is no whole number": lambda state: {**state, "iteration": 2.5},
    "seconds that are infinite": lambda state: {**state, "seconds": float("inf")},
    "steps that are none": lambda state: {**state, "env_steps": True},
    "parameters that are not finite": lambda state: {**state, "algorithm": {**state["algorithm"],
        "params": state["algorithm"]["params"] * float("nan")}},
    "parameters of another precision": lambda state: {**state, "algorithm": {**state["algorithm"],
        "params": state["algorithm"]["params"].double()}},
    "a generator of another size": lambda state: {**state, "generator": state["generator"][:-1]},
    "a generator of another type": lambda state: {**state, "generator": state["generator"].float()},
    "no tensor as generator": lambda state: {**state, "generator": [1, 2]},
    "a generator that is none": lambda state: {**state, "generator": torch.zeros_like(state["generator"])},
}  # fmt: skip


@pytest.mark.parametrize("case", FOREIGN)
def test_a_foreign_torch_file_is_refused(make_run, case, sentence):
    run = make_run()
    torch.save(FOREIGN[case](run.state_dict()), run.path / "checkpoint.pt")
    assert "is not a checkpoint of the run in config.json beside it" in refused(run, sentence)


def test_the_checkpoint_of_another_policy_is_refused(make_run, sentence):
    small, large = make_run("small", hidden_sizes=(3,)), make_run("large", hidden_sizes=(4,))
    large.save()
    shutil.copy(large.path / "checkpoint.pt", small.path)
    sizes = f"{large.algorithm.params.numel()} parameters, the policy has {small.algorithm.params.numel()}"
    assert sizes in refused(small, sentence)


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


# --- Atomic writing ----------------------------------------------------------------------------------------------


def no_space(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fails_and_keeps(run: Run, kind: type[BaseException], files) -> None:
    """Saving the run raises `kind` and leaves the folder as it is."""
    before = files(run.path)
    with pytest.raises(kind):
        changed(run).save()
    assert files(run.path) == before


@pytest.mark.parametrize("where", ["torch.save", "os.fsync", "pathlib.Path.write_bytes", "pathlib.Path.replace"])
def test_a_failed_save_leaves_the_previous_checkpoint(make_run, where, monkeypatch, files):
    run = make_run()
    run.save()
    monkeypatch.setattr(where, no_space)
    fails_and_keeps(run, OSError, files)
    monkeypatch.undo()
    run.save()
    assert Run.open(run.path).iteration == 4


def test_a_write_that_stops_half_way_leaves_the_previous_checkpoint(make_run, monkeypatch, files):
    run = make_run()
    run.save()

    def half(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", half)
    fails_and_keeps(run, KeyboardInterrupt, files)


def test_a_file_system_that_takes_no_more_leaves_the_previous_checkpoint(make_run, files):
    run = make_run()
    run.save()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the kernel refuses to write beyond: an OSError
    try:
        fails_and_keeps(run, OSError, files)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    run.save()
    assert Run.open(run.path).iteration == 4


# --- Metrics and undoing -----------------------------------------------------------------------------------------


def test_metrics_after_the_checkpoint_are_dropped(make_run):
    run = make_run()
    lines = [json.dumps({"iteration": k, "return_0": -k}) for k in (1, 2, 3, 4)]
    run.iteration = 2
    for text in ("\n".join(lines) + "\n", "\n".join([*lines, '{"iteration": 5, "ret']), "\n".join([*lines, "5", "[]"])):
        (run.path / "metrics.jsonl").write_text(text)
        run.trim_metrics()
        assert (run.path / "metrics.jsonl").read_text() == "\n".join(lines[:2]) + "\n"
    run.log({"iteration": 3})
    assert (run.path / "metrics.jsonl").read_text().splitlines() == [*lines[:2], '{"iteration": 3}']


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
