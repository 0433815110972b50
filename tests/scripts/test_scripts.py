"""The scripts as a person uses them: signals, kills, mistakes, an environment of one's own."""

from __future__ import annotations

import dataclasses
import itertools
import json
import multiprocessing
import os
import random
import re
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import envs
from metarl.algorithms.maml import MAMLConfig
from metarl.algorithms.outer import TRPOConfig
from metarl.policies.mlp import MLPConfig
from metarl.training.config import TrainConfig
from metarl.training.presets import METHODS
from metarl.training.run import Run
from metarl.training.suites import SUITES

SCRIPTS = Path(__file__).parents[2] / "scripts"


SIZES = ["--meta-batch-size", "2", "--num-envs", "3", "--eval-num-envs", "4", "--hidden-sizes", "4"]


TINY = [*SIZES, "--env.horizon", "5"]


TIMINGS = {"seconds", "sampling_seconds", "optimization_seconds"}


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


class Script:
    """A script in a process of its own."""

    def __init__(self, name: str, *arguments: object, cwd: Path | None = None) -> None:
        command = [sys.executable, SCRIPTS / f"{name}.py", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, cwd=cwd, env=ENVIRONMENT, text=True, **pipes)

    def finish(self) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err


class Copy:
    """A script in a copy of this process, which starts at once; `first` is called in there."""

    def __init__(self, name: str, *arguments: object, first: Callable = lambda: None, cwd: Path | None = None) -> None:
        import torch.utils.tensorboard  # noqa: F401  so that the copy need not

        self.streams = [tempfile.NamedTemporaryFile("w+") for _ in range(2)]  # noqa: SIM115

        def run() -> None:
            for number, stream in enumerate(self.streams, 1):
                os.dup2(stream.fileno(), number)
            sys.stdout, sys.stderr = self.streams
            threading.excepthook = threading.__excepthook__  # pytest has one of its own
            sys.argv = [f"{name}.py", *map(str, arguments)]
            os.chdir(cwd or os.getcwd())
            first()
            runpy.run_path(str(SCRIPTS / sys.argv[0]), run_name="__main__")

        self.process = multiprocessing.get_context("fork").Process(target=run)
        self.process.start()

    def finish(self) -> tuple[int | None, str, str]:
        """Exit status, negative after a kill, standard output and standard error."""
        self.process.join(120)
        out, err = (Path(stream.name).read_text() for stream in self.streams)
        return self.process.exitcode, out, err


def lines(path: Path) -> list[str]:
    file = path / "metrics.jsonl"
    return file.read_text().splitlines() if file.exists() else []


def wait_for_iterations(path: Path, number: int) -> None:
    end = time.monotonic() + 60
    while len(lines(path)) < number:
        assert time.monotonic() < end, "training did not start"
        time.sleep(0.002)


def outcome(path: Path) -> tuple[list[float], list[dict]]:
    """Parameters and metrics of a run, but for timings. Each iteration must be logged once."""
    metrics = [json.loads(line) for line in lines(path)]
    run = Run.open(path)
    assert [line["iteration"] for line in metrics] == list(range(1, run.iteration + 1))
    return run.algorithm.params.tolist(), [{k: v for k, v in m.items() if k not in TIMINGS} for m in metrics]


# --- Stopping and going on ---------------------------------------------------------------------------------------

ITERATIONS = 50


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[list[float], list[dict]]:
    """What an uninterrupted run of `ITERATIONS` comes to."""
    path = tmp_path_factory.mktemp("whole") / "run"
    copy = Copy("train", "maml-point", "--run-dir", path, "--num-iterations", ITERATIONS, *TINY)
    assert copy.finish()[::2] == (0, "")
    return outcome(path)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "number"), [(Script, signal.SIGINT), (Copy, signal.SIGTERM)])
def test_a_signal_saves_and_the_printed_command_goes_on_to_the_bit(tmp_path, whole, kind, number):
    path = tmp_path / "a run"
    script = kind("train", "maml-point", "--run-dir", path, "--num-iterations", ITERATIONS, *TINY)
    wait_for_iterations(path, 3)
    os.kill(script.process.pid, number)
    status, out, err = script.finish()
    assert status == 128 + number
    assert "Traceback" not in err
    done = Run.open(path).iteration
    assert 3 <= done < ITERATIONS
    assert f"{done} of {ITERATIONS} iterations" in out
    assert f"Stopped by {number.name} and saved." in out
    command = re.search(r"metarl train (--resume .*)", out)
    assert command is not None
    assert command[1] == f"--resume '{path}'"
    status, out, err = Copy("train", "--resume", path).finish()
    assert (status, err) == (0, "")
    assert f"Resuming {path} after iteration {done} of {ITERATIONS}." in out
    assert outcome(path) == whole


@pytest.mark.slow
def test_kills_at_any_moment_leave_a_readable_checkpoint_and_cost_no_bit(tmp_path, whole):
    path = tmp_path / "run"
    chance = random.Random(0)
    arguments = ["maml-point", "--run-dir", path, "--num-iterations", ITERATIONS, "--checkpoint-every", 1, *TINY]
    reached = []
    for _ in range(6):
        copy = Copy("train", *arguments)
        wait_for_iterations(path, len(lines(path)) + chance.randint(1, 2))
        time.sleep(chance.uniform(0, 0.01))
        copy.process.kill()
        assert copy.finish()[0] == -signal.SIGKILL
        reached.append(Run.open(path).iteration)
        assert len(lines(path)) - reached[-1] in (0, 1)
        arguments = ["--resume", path]
    assert reached == sorted(reached)
    assert 6 <= reached[-1] < ITERATIONS
    assert Copy("train", "--resume", path).finish()[::2] == (0, "")
    assert outcome(path) == whole


@pytest.mark.parametrize(("owner", "name"), [(os, "fsync"), (Path, "replace")])
def test_a_kill_while_a_file_is_written_leaves_the_one_before(tmp_path, owner, name):
    path = tmp_path / "run"
    arguments = ["maml-point", "--run-dir", path, "--num-iterations", 4, "--checkpoint-every", 1, *TINY]

    def kill_at_the_fourth() -> None:  # after the checkpoints before and after the first iteration, and the second
        function, calls = getattr(owner, name), itertools.count(1)

        def wrapped(*args):
            file = os.readlink(f"/proc/self/fd/{args[0]}") if owner is os else str(args[0])
            if "checkpoint.pt" in file and next(calls) == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args)

        setattr(owner, name, wrapped)

    assert Copy("train", *arguments, first=kill_at_the_fourth).finish()[0] == -signal.SIGKILL
    assert list(path.glob(".checkpoint.pt.*.partial"))
    assert Run.open(path).iteration == 2
    assert Copy("train", "--resume", path).finish()[::2] == (0, "")
    assert Run.open(path).iteration == 4
    assert not list(path.glob(".*"))
    assert len(outcome(path)[1]) == 4


@pytest.mark.parametrize("pair", ["two starts", "a start and a --resume", "two --resume"])
def test_the_second_process_of_a_run_gets_one_sentence(tmp_path, whole, sentence, pair):
    path = tmp_path / "run"
    start = ["maml-point", "--run-dir", path, "--num-iterations", ITERATIONS, *TINY]
    resume = ["--resume", path]

    def kill_at_once() -> None:
        Run.begin = lambda run: os.kill(os.getpid(), signal.SIGKILL)

    if pair == "two --resume":
        fresh = Copy("train", *start, first=kill_at_once)
        assert fresh.finish()[0] == -signal.SIGKILL
    held, go = multiprocessing.get_context("fork").Event(), multiprocessing.get_context("fork").Event()

    def hold() -> None:
        begin = Run.begin
        Run.begin = lambda run: (begin(run), held.set(), go.wait(60))

    first = Copy("train", *(resume if pair == "two --resume" else start), first=hold)
    assert held.wait(60)
    before = {file: file.read_bytes() for file in path.iterdir()}
    status, out, err = Copy("train", *(start if pair == "two starts" else resume)).finish()
    assert (status, out) == (2, "")
    assert "is being trained by another process" in sentence(err)
    assert {file: file.read_bytes() for file in path.iterdir()} == before
    assert Run.open(path).iteration == 0, "others may read it"
    go.set()
    assert first.finish()[::2] == (0, "")
    assert outcome(path) == whole


def test_a_finished_run_says_so_and_is_not_touched(script, trained, files):
    before = files(trained), {path: path.stat().st_mtime_ns for path in trained.iterdir()}
    for more in ([], ["--num-iterations", 3], ["--num-iterations", 2]):
        result = script("train", "--resume", trained, *more)
        assert (result.status, result.err) == (0, "")
        assert result.out == (
            f"{trained} has done its 3 iterations already; --num-iterations K trains it for longer.\n"
        )
    assert (files(trained), {path: path.stat().st_mtime_ns for path in trained.iterdir()}) == before


def test_a_run_can_be_made_longer_and_stays_so(script, trained):
    result = script("train", "--resume", trained, "--num-iterations", 5)
    assert (result.status, result.err) == (0, "")
    assert f"Resuming {trained} after iteration 3 of 5." in result.out
    assert Run.open(trained).iteration == 5
    assert Run.open(trained).config.num_iterations == 5  # so that a plain --resume goes on to there after a stop
    assert len(outcome(trained)[1]) == 5


def test_a_new_run_by_script_equals_one_by_library(script, trained, tmp_path):
    path = tmp_path / "scripted"
    result = script("train", "maml-point", "--run-dir", path, "--num-iterations", 3, *TINY)
    assert (result.status, result.err) == (0, "")
    assert f"{path}: 3 of 3 iterations, 180 environment steps" in result.out
    assert f"Next: metarl evaluate {path}" in result.out
    assert outcome(path) == outcome(trained)
    other = script("train", "maml-point", "--run-dir", tmp_path / "b", "--num-iterations=3", "--seed=1", *TINY)
    assert other.status == 0
    assert outcome(tmp_path / "b")[0] != outcome(path)[0]


@pytest.mark.parametrize(
    "arguments", [["--env-preset", "semicircle"], ["--env-preset=semicircle"], ["--env_preset", "semicircle"]]
)
def test_an_environment_preset_brings_its_fields(script, tmp_path, arguments):
    path = tmp_path / "run"
    more = ["--num-iterations", 1, "--meta-batch-size", 2, "--num-envs", 2, "--env.horizon", 6]
    assert script("train", "maml-point", "--run-dir", path, *arguments, *more).status == 0
    run = Run.open(path)
    assert run.config.env_preset == "semicircle"
    assert run.env_config == dataclasses.replace(envs.point.PRESETS["semicircle"], horizon=6)


# --- Bad input ---------------------------------------------------------------------------------------------------

NEW = ["train", "maml-point", "--run-dir", "new", *TINY]


BAD_INPUT = {
    # name: (script and arguments, words of the message)
    "no arguments": (
        ["train"],
        "Name a preset first, such as metarl train maml-point; metarl train --help lists them.",
    ),
    "options but no preset": (["train", "--seed", 1], "Name a preset first"),
    "unknown preset": (["train", "maml-pont"], "Unknown preset 'maml-pont'. Did you mean 'maml-point'?"),
    "strange preset": (["train", "xyz"], "Unknown preset 'xyz'. A preset is METHOD-FAMILY, with a method of maml, "),
    "a method without a family": (["train", "promp"], "Unknown preset 'promp'. Did you mean 'promp-point'?"),
    "unknown field": ([*NEW, "--num-iteration", 5], "Unrecognized options: --num-iteration", "--num-iterations INT"),
    "unknown env field": ([*NEW, "--env.goal-scal", 5], "Unrecognized options: --env.goal-scal", "--env.goal-scale"),
    "no number": ([*NEW, "--num-iterations", "many"], "Error parsing --num-iterations"),
    "no tasks": ([*NEW, "--meta-batch-size", 0], "meta_batch_size must be at least 1, not 0."),
    "no episodes": ([*NEW, "--num-envs", 0], "num_envs must be at least 1, not 0."),
    "no iterations": ([*NEW, "--num-iterations", -1], "num_iterations must be at least 0, not -1."),
    "no checkpoints": ([*NEW, "--checkpoint-every", 0], "checkpoint_every must be at least 1, not 0."),
    "negative learning rate": ([*NEW, "--inner-lr", -1], "inner_lr must be at least 0 and finite, not -1.0."),
    "learning rate nan": ([*NEW, "--inner-lr", "nan"], "inner_lr must be at least 0 and finite, not nan."),
    "an option of other methods": (
        ["train", "promp-point", "--run-dir", "new", "--max-kl", 0.1],
        "The preset promp-point has no --max-kl; the methods that have it: maml, fomaml, meta-sgd.",
    ),
    "an estimator for Reptile": (
        ["train", "reptile-point", "--run-dir", "new", "--estimator=lvc"],
        "The preset reptile-point has no --estimator; the methods that have it: maml, fomaml, maml-ppo, ",
    ),
    "a loss that MAML does not have": (
        [*NEW, "--inner_loss", "ppo"],
        "The preset maml-point has no --inner-loss; the methods that have it: reptile.",
    ),
    "an unknown estimator": ([*NEW, "--estimator", "dise"], "invalid choice 'dise'", "'lvc', 'dice'"),
    "several steps of a policy gradient": (
        ["train", "maml-vpg-point", "--run-dir", "new", "--num-outer-steps", 2],
        "(objective 'vpg') holds for one step on its data; set num_outer_steps to 1.",
    ),
    "discount above one": ([*NEW, "--gamma", 1.5], "gamma must be at least 0 and at most 1, not 1.5."),
    "no units": ([*NEW, "--hidden-sizes", 0], "hidden_sizes must be at least 1 and at most"),
    "unknown activation": ([*NEW, "--activation", "gelu"], "invalid choice 'gelu'"),
    "negative seed": ([*NEW, "--seed", -1], "seed must be at least 0 and below"),
    "no steps": ([*NEW, "--env.horizon", 0], "horizon must be at least 1, not 0."),
    "unknown reward": ([*NEW, "--env.reward", "nonsense"], "invalid choice 'nonsense'", "'squared', 'distance'"),
    "unknown environment": ([*NEW, "--env", "nonsense"], "Unknown environment 'nonsense'. Known:", "bernoulli-bandit"),
    "environment nearly right": ([*NEW, "--env=pont"], "Unknown environment 'pont'. Did you mean 'point'?"),
    "unknown env preset": ([*NEW, "--env-preset", "nonsense"], "Unknown preset of 'point' 'nonsense'. Known: finn2017"),
    "unknown device": ([*NEW, "--device", "tpu"], "invalid choice 'tpu'"),
    "negative threads": ([*NEW, "--num-threads", -1], "num_threads must be at least 0, not -1."),
    "unknown module": ([*NEW, "--imports", "nonsense"], "--imports nonsense: there is no module 'nonsense' here"),
    "a file as module": ([*NEW, "--imports", "./my.py"], "--imports takes names of modules, such as my_family"),
    "run folder taken": (["train", "maml-point", "--run-dir", "trained"], "run with another configuration ("),
    "same run": (
        ["train", "maml-point", "--run-dir", "trained", *TINY, "--num-iterations", 3],
        "already holds this run",
    ),
    "run folder is a file": (["train", "maml-point", "--run-dir", "file"], "The run folder file cannot be made"),
    "run folder below a file": (["train", "maml-point", "--run-dir", "file/x"], "file/x cannot be made"),
    "resume nothing": (["train", "--resume", "none"], "There is no run folder none."),
    "resume no run": (["train", "--resume", "empty"], "empty is not a run folder: it holds no config.json."),
    "resume with other fields": (["train", "--resume", "trained", "--seed", 1], "Unrecognized options: --seed"),
    "resume to less": (["train", "--resume", "trained", "--num-iterations", -1], "num_iterations must be at least 0"),
    "resume a truncated checkpoint": (
        ["train", "--resume", "cut"],
        "cut/checkpoint.pt is damaged, truncated or not a checkpoint",
    ),
    "resume a run that lost its checkpoint": (
        ["train", "--resume", "lost", "--num-iterations", 8],
        "lost has lost its checkpoint.pt; its metrics.jsonl goes to iteration 3;",
    ),
    "resume a run that lacks a field": (
        ["train", "--resume", "lacking"],
        "lacking/config.json is damaged or of another version: TrainConfig lacks 'meta_batch_size';",
    ),
    "resume a deeply nested configuration": (["train", "--resume", "nested"], "nested/config.json is damaged: "),
    "evaluate a damaged checkpoint": (["evaluate", "flipped"], "flipped/checkpoint.pt is damaged"),
    "evaluate what": (["evaluate"], "Required options", "run"),
    "evaluate nothing": (["evaluate", "none"], "There is no run folder none."),
    "evaluate a file": (["evaluate", "file"], "There is no run folder file."),
    "evaluate no run": (["evaluate", "empty"], "empty is not a run folder: it holds no config.json."),
    "evaluate a truncated checkpoint": (
        ["evaluate", "cut"],
        "cut/checkpoint.pt is damaged, truncated or not a checkpoint",
    ),
    "evaluate no tasks": (["evaluate", "trained", "--num-tasks", 0], "num_tasks must be at least 1, not 0."),
    "evaluate a nonsense split": (
        ["evaluate", "trained", "--split", "tset"],
        "Unknown split 'tset'. Did you mean 'test'",
    ),
    "evaluate negative steps": (["evaluate", "trained", "--num-steps", -1], "num_steps must be at least 0, not -1."),
    "evaluate no episodes": (["evaluate", "trained", "--num-envs", 0], "num_envs must be at least 1, not 0."),
    "evaluate negative seed": (["evaluate", "trained", "--seed", -1], "seed must be at least 0 and below"),
    "evaluate to a picture": (["evaluate", "trained", "--output", "x.png"], "must end in .json, and 'x.png' does not."),
    "evaluate a split of a file": (
        ["evaluate", "trained", "--tasks", "t.json", "--split", "ood"],
        "--tasks plays the tasks of a file, so leave --num-tasks and --split out.",
    ),
    "evaluate onto the configuration": (
        ["evaluate", "trained", "--output", "trained/config.json"],
        "'trained/config.json' is there and holds something else, which would be lost; choose another --output.",
    ),
    "evaluate without a checkpoint": (["evaluate", "fresh"], "fresh holds no checkpoint.pt: it was stopped before its"),
    "evaluate a damaged configuration": (
        ["evaluate", "odd"],
        "odd/config.json is damaged or of another version: Unknown field of TrainConfig 'x'",
    ),
    "evaluate to a folder": (["evaluate", "trained", "--output", "folder.json"], "'folder.json', which is a folder."),
    "record what": (["record"], "Required options", "run"),
    "record nothing": (["record", "none"], "There is no run folder none."),
    "record no run": (["record", "empty"], "empty is not a run folder: it holds no config.json."),
    "record no tasks": (["record", "trained", "--num-tasks", 0], "num_tasks must be at least 1, not 0."),
    "record negative steps": (["record", "trained", "--num-steps", -1], "num_steps must be at least 0, not -1."),
    "record negative seed": (["record", "trained", "--seed", -1], "seed must be at least 0 and below"),
    "record a nonsense split": (
        ["record", "trained", "--split", "nonsense"],
        "Unknown split 'nonsense'. Known: ood, test",
    ),
    "record a split of a file": (
        ["record", "trained", "--tasks", "t.json", "--split", "ood"],
        "--tasks plays the tasks of a file, so leave --num-tasks and --split out.",
    ),
    "record no file of tasks": (["record", "trained", "--tasks", "t.json"], "The tasks cannot be read from 't.json'"),
    "record a frame as jpg": (["record", "trained", "--frame", "x.jpg"], "A frame's name must end in .png"),
    "record to avi": (["record", "trained", "--output", "x.avi"], "must end in .mp4 or .gif, and 'x.avi' does not."),
}


def plain(message: str) -> str:
    """Without the box around the parser's messages, on one line."""
    return " ".join(re.sub(r"[╭╮╰╯│─]", " ", message).split())


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_ends_in_one_clear_message_and_nothing_is_lost(case, script, trained, tmp_path, files, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut/config.json").write_bytes((trained / "config.json").read_bytes())
    (tmp_path / "cut/checkpoint.pt").write_bytes((trained / "checkpoint.pt").read_bytes()[:2000])
    for folder, old, new in (("fresh", "", ""), ("odd", '"algorithm": {', '"algorithm": null, "x": {')):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text((trained / "config.json").read_text().replace(old, new))
    for folder in ("lost", "lacking", "nested", "flipped"):
        shutil.copytree(trained, tmp_path / folder)
    (tmp_path / "lost/checkpoint.pt").unlink()
    config = (trained / "config.json").read_text()
    (tmp_path / "lacking/config.json").write_text(config.replace('"meta_batch_size": 2,', ""))
    (tmp_path / "nested/config.json").write_text('{"a": ' * 100_000)
    content = bytearray((trained / "checkpoint.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "flipped/checkpoint.pt").write_bytes(content)
    before = files(tmp_path)
    (name, *arguments), *words = BAD_INPUT[case]
    result = script(name, *arguments)
    assert result.status == 2
    assert result.out == ""
    assert "Traceback" not in result.err
    for part in words:
        assert part in plain(result.err)
    if result.err.startswith("error: "):  # ours, and not the parser's box
        assert result.err.count("\n") == 1
        assert result.err.endswith(".\n")
    assert files(tmp_path) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
@pytest.mark.parametrize(
    "command", [NEW, ["train", "--resume", "trained"], ["evaluate", "trained"], ["record", "trained"]]
)
def test_cuda_without_cuda(command, script, trained, tmp_path, files, monkeypatch, sentence):
    monkeypatch.chdir(tmp_path)
    before = files(tmp_path)
    result = script(*command, "--device", "cuda")
    assert result.status == 2
    assert "'cuda'" in sentence(result.err) and "'cpu'" in result.err
    assert files(tmp_path) == before


def test_a_process_of_its_own_tells_bad_input_the_same_way(tmp_path):
    status, out, err = Script("train", "maml-pont", cwd=tmp_path).finish()
    assert (status, out) == (2, "")
    assert err.startswith("error: Unknown preset 'maml-pont'. Did you mean 'maml-point'?") and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_file_system_that_takes_no_more_ends_training_in_one_sentence(tmp_path, sentence):
    """A limit on the size of files stands for a full disk: metrics and TensorBoard's thread run into it."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))

    path = tmp_path / "run"
    arguments = ["--run-dir", path, "--num-iterations", 1000, "--checkpoint-every", 1, *TINY]
    status, _, err = Copy("train", "maml-point", *arguments, first=limit).finish()
    assert status == 1 and "File too large" in sentence(err)
    run = Run.open(path)
    assert 1 <= run.iteration < 100
    assert run.iteration <= len(lines(path)) <= run.iteration + 1
    assert not list(path.glob(".*"))


def test_an_output_that_cannot_be_written_ends_in_one_sentence(script, trained, tmp_path, sentence):
    (tmp_path / "file").write_text("mine")
    result = script("evaluate", trained, "--num-tasks", 2, "--num-steps", 0, "--output", tmp_path / "file/x.json")
    assert (result.status, result.out) == (2, "")
    assert f"{tmp_path / 'file'} is no folder that takes files." in sentence(result.err)
    assert (tmp_path / "file").read_text() == "mine"


def test_numbers_that_are_not_finite_end_in_one_sentence(script, tmp_path, sentence):
    path = tmp_path / "run"
    result = script("train", "maml-point", "--run-dir", path, *TINY, "--inner-lr", "1e38")
    assert result.status == 1
    assert "Iteration 1 met numbers that are not finite" in sentence(result.err)
    assert Run.open(path).algorithm.params.isfinite().all()


# --- Help --------------------------------------------------------------------------------------------------------


def names_of(*configs: type) -> set[str]:
    """Options for the fields of config classes, such as --inner-lr."""
    nested = {"policy", "algorithm", "outer", "session", "run_dir"}
    fields = {field.name for config in configs for field in dataclasses.fields(config)} - nested
    return {f"--{name.replace('_', '-')}" for name in fields}


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["maml-point", "--help"]])
def test_the_help_of_train_names_every_method_family_and_field(script, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = script("train", *arguments)
    assert (result.status, result.err) == (0, "")
    options = set(re.findall(r"--[a-z0-9.-]+", result.out))
    env = {f"--env.{field.name.replace('_', '-')}" for field in dataclasses.fields(envs.point.PointConfig)}
    session = {"--device", "--num-threads", "--imports"}
    assert options >= names_of(TrainConfig, MLPConfig, MAMLConfig, TRPOConfig) | env | session | {
        "--run-dir",
        "--resume",
    }
    for name, item in {**METHODS, **SUITES}.items():
        assert f"{name}: {item.about}" in plain(result.out)
    assert not list(tmp_path.iterdir())


def test_every_field_has_a_meaning_in_the_help(script):
    """A line of help that gives a default and nothing else would be a field without a docstring."""
    text = plain(script("train", "--help").out)
    for name in sorted(names_of(TrainConfig, MLPConfig, MAMLConfig, TRPOConfig)):
        meaning = re.search(rf"{name}[ ,][^(]*? [A-Za-z][a-z][^()]*\(", text)
        assert meaning is not None, name


@pytest.mark.parametrize("name", ["evaluate", "record"])
def test_the_help_of_the_others_names_every_option(script, name):
    result = script(name, "--help")
    assert (result.status, result.err) == (0, "")
    expected = {"--num-tasks", "--split", "--num-steps", "--seed", "--output", "--device", "--num-threads", "--imports"}
    assert set(re.findall(r"--[a-z0-9.-]+", result.out)) >= expected
    assert "run folder that metarl train wrote" in plain(result.out)


# --- Recording, and an environment of one's own ------------------------------------------------------------------


def test_tasks_of_a_file_give_a_video_and_a_frame(script, trained, tmp_path):
    output = tmp_path / "new" / "x.gif"
    tasks, frame = tmp_path / "tasks.json", tmp_path / "new" / "frame.png"
    task = envs.make("point").task_from_dicts([{"goal": [0.1, 0.2]}])
    envs.save_tasks(tasks, "point", None, envs.make("point"), task)
    result = script("record", trained, "--tasks", tasks, "--num-steps", 1, "--output", output, "--frame", frame)
    assert (result.status, result.err) == (0, "")
    assert plain(f"Wrote {output} and {frame}") in plain(result.out)
    assert output.read_bytes().startswith(b"GIF8") and frame.read_bytes().startswith(b"\x89PNG")


MY_FAMILY = '''
"""Walk along a line to a place that is not told."""
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces

import envs


@dataclass(frozen=True)
class LineConfig:
    """A walk on a line."""
    length: float = 1.0
    """Half of it."""
    marks: tuple[float, ...] = (0.0, 0.5)
    """Drawn."""
    horizon: int = 6
    """Steps."""


@dataclass(frozen=True, eq=False)
class Task(envs.Struct):
    place: torch.Tensor  # [N, 1]


@dataclass(frozen=True, eq=False)
class State(envs.Struct):
    x: torch.Tensor  # [N, E, 1]


class Line(envs.Env):
    task_type = Task

    def __init__(self, config, device):
        self.config, self.device, self.horizon = config, device, config.horizon
        self.observation_space = spaces.Box(-9, 9, (1,), np.float32)
        self.action_space = spaces.Discrete(3)
        self.task_space = spaces.Dict(place=spaces.Box(-1, 1, (1,), np.float32))
        self.splits = envs.fresh_splits("anywhere")

    def sample_tasks(self, n, generator, split="train"):
        self.check_split(split)
        return Task(self.config.length * (2 * torch.rand(n, 1, generator=generator, device=self.device) - 1))

    def reset(self, task, num_envs, generator):
        x = torch.zeros(len(task), num_envs, 1, device=self.device)
        return State(x), x

    def step(self, task, state, action, generator):
        x = state.x + 0.2 * (action[..., None] - 1)
        reward = -(x - task.place[:, None]).abs().squeeze(-1)
        return envs.StepResult(State(x), x, reward, torch.zeros_like(reward, dtype=torch.bool))

    def render(self, task, episode, earlier=(), size=480):
        image = np.full((size, size, 3), 255, np.uint8)
        image[:, int((float(episode.x[-1, 0]) / 4 + 0.5) * (size - 1))] = 0
        return image

    def references(self):
        return {"random": envs.Reference(self.random_actions)}


envs.register("line", Line, {"short": LineConfig(), "long": LineConfig(length=0.5, horizon=8)})
'''


@pytest.mark.slow
def test_a_family_of_ones_own_is_trained_resumed_evaluated_and_recorded(tmp_path):
    (tmp_path / "my_family.py").write_text(MY_FAMILY)
    mine = ["--imports", "my_family"]
    own = ["--env", "line", "--env-preset", "long", "--env.length", "0.8", "--num-iterations", "2", *SIZES]

    def run(kind: type[Script] | type[Copy], name: str, *arguments: object) -> str:
        status, out, err = kind(name, *arguments, *mine, cwd=tmp_path).finish()
        assert (status, err) == (0, "")
        return out

    out = run(Script, "train", "maml-point", "--run-dir", "mine", *own)
    assert "Next: metarl evaluate mine\n" in out
    assert json.loads((tmp_path / "mine/config.json").read_text())["env"]["config"] == {
        "length": 0.8,
        "marks": [0.0, 0.5],
        "horizon": 8,
    }
    run(Copy, "train", "--resume", "mine", "--num-iterations", "3")
    assert len(lines(tmp_path / "mine")) == 3
    run(Copy, "evaluate", "mine", "--num-tasks", "4", "--num-steps", "1")
    evaluation = json.loads((tmp_path / "mine/evaluation-test.json").read_text())
    assert evaluation["env"] == "line/long"
    assert evaluation["references"].keys() == {"random"}
    run(Copy, "record", "mine", "--num-tasks", "1", "--num-steps", "1")
    assert (tmp_path / "videos/mine.mp4").stat().st_size > 1000


def test_evaluation_on_a_file_of_tasks(tmp_path, trained, script, sentence):
    """The tasks of the file, in its order: a goal at the start earns more than one far away."""
    env = Run.open(trained).env
    goals = [[0.05, 0.0], [1.5, 1.5], [0.0, 0.05]]
    path = envs.save_tasks(
        tmp_path / "mine.json", "point", "finn2017", env, env.task_from_dicts([{"goal": g} for g in goals])
    )
    out = tmp_path / "out.json"
    assert script("evaluate", trained, "--tasks", path, "--output", out).status == 0
    result = json.loads(out.read_text())
    rows = result["per_task"]
    assert (result["num_tasks"], result["split"]) == (3, str(path))
    assert min(rows[0][0], rows[2][0]) > 3 + rows[1][0]
    result = script("evaluate", trained, "--tasks", path, "--output", trained / "evaluation-test.json")
    assert result.status == 0
    result = script("evaluate", trained)  # by default to the same file
    assert result.status == 2
    assert f"holds one on other tasks ({path}), which would be lost" in sentence(result.err)


def test_a_run_on_a_family_that_was_not_imported_says_how(script, trained, sentence):
    config = json.loads((trained / "config.json").read_text())
    config["train"]["env"] = "line"
    (trained / "config.json").write_text(json.dumps(config))
    result = script("evaluate", trained)
    assert result.status == 2
    assert "name the module that registers it with --imports" in sentence(result.err)
