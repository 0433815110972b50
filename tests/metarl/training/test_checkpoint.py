"""The checkpoint: checked when it is read, and written atomically."""

from __future__ import annotations

import errno
import os
import pickle
import random
import resource
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from bits import changed, same_state

from envs import InputError
from metarl.training.run import Run

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


def test_a_checkpoint_with_a_changed_bit_is_refused_or_means_the_same(make_run):
    """Zip archives have checksums, and torch.load verifies none of them. Dates and padding are not covered."""
    run = changed(make_run())
    run.save()
    file, chance = run.path / "checkpoint.pt", random.Random(0)
    whole = file.read_bytes()
    places = [chance.randrange(len(whole)) for _ in range(60)]
    refused = 0
    for place in [0, whole.index(b"data.pkl"), *places, -100, -70, -1]:
        content = bytearray(whole)
        content[place] ^= 1 << chance.randrange(8) if place % 2 else chance.randrange(1, 256)
        file.write_bytes(content)
        try:
            assert same_state(Run.open(run.path), run)
        except InputError:
            refused += 1
    assert refused > 20
    file.write_bytes(whole)
    assert same_state(Run.open(run.path), run)
    assert torch.load(file, weights_only=True)["iteration"] == run.iteration, "as anybody would read it"


def test_a_changed_bit_of_a_parameter_is_always_refused(make_run, sentence):
    run = changed(make_run())
    run.save()
    file = run.path / "checkpoint.pt"
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
    "parameters that are not finite": lambda state: {
        **state,
        "algorithm": {**state["algorithm"], "params": state["algorithm"]["params"] * float("nan")},
    },
    "parameters of another precision": lambda state: {
        **state,
        "algorithm": {**state["algorithm"], "params": state["algorithm"]["params"].double()},
    },
    "a generator of another size": lambda state: {**state, "generator": state["generator"][:-1]},
    "a generator of another type": lambda state: {**state, "generator": state["generator"].float()},
    "no tensor as generator": lambda state: {**state, "generator": [1, 2]},
    "a generator that is none": lambda state: {**state, "generator": torch.zeros_like(state["generator"])},
}


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
