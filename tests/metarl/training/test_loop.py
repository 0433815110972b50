"""The training loop: repeatable, resumable to the bit, and it stops with nothing lost."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import math
import os
import signal
import sys

import pytest
import torch
from bits import TIMINGS, bits, metrics
from training_runs import on_iteration, trained_run

from envs import InputError
from metarl.algorithms.maml import MAMLConfig
from metarl.algorithms.outer import AdamConfig
from metarl.algorithms.reptile import ReptileConfig
from metarl.backend.errors import NonFiniteError
from metarl.backend.signals import STOPPING
from metarl.training.loop import StopSignals, train, train_iteration
from metarl.training.run import Run


def same(a: Run, b: Run) -> bool:
    """Equal to the bit, but for timings."""
    return (
        torch.equal(a.algorithm.params, b.algorithm.params)
        and torch.equal(a.generator.get_state(), b.generator.get_state())
        and (a.iteration, a.env_steps) == (b.iteration, b.env_steps)
    )


def nan_reward(result):
    return dataclasses.replace(result, reward=torch.full_like(result.reward, math.nan))


# --- Repeatable and resumable ------------------------------------------------------------------------------------


def test_a_seed_fixes_the_run(make_run):
    a, b, c = (trained_run(make_run(name, seed=seed)) for name, seed in (("a", 5), ("b", 5), ("c", 6)))
    assert same(a, b)
    assert metrics(a) == metrics(b)
    assert not torch.equal(a.algorithm.params, c.algorithm.params)
    assert metrics(a)[0]["return_0"] != metrics(c)[0]["return_0"]


def test_training_changes_the_parameters_and_says_what_it_did(make_run):
    run = make_run()
    start = run.algorithm.params.clone()
    trained_run(run)
    assert not torch.equal(start, run.algorithm.params)
    assert run.iteration == 6
    assert run.env_steps == 6 * 2 * 2 * 3 * 5  # iterations, rollouts, tasks, episodes, steps
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[-1].keys() >= {"return_0", "return_1", "env_steps", "grad_norm", "kl", "loss", "step", *TIMINGS}
    assert lines[-1]["env_steps"] == run.env_steps
    assert all(a["seconds"] < b["seconds"] for a, b in itertools.pairwise(lines))
    assert len(list(run.path.glob("events.*"))) == 1


def test_the_scalars_reach_tensorboard(make_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = make_run(num_iterations=3)
    trained_run(run)
    trained_run(Run.open(run.path, num_iterations=5))
    events = EventAccumulator(str(run.path)).Reload()
    for name in ("train/return_0", "train/return_1", "train/kl", "time/seconds"):
        assert [event.step for event in events.Scalars(name)] == [1, 2, 3, 4, 5]
    expected = [line["return_1"] for line in metrics(run)]
    assert [event.value for event in events.Scalars("train/return_1")] == pytest.approx(expected)


@pytest.mark.parametrize("checkpoint_every", [1, 2, 10])
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(make_run, checkpoint_every):
    whole = trained_run(make_run("whole", checkpoint_every=checkpoint_every))
    first = trained_run(make_run("parts", num_iterations=3, checkpoint_every=checkpoint_every))
    second = trained_run(Run.open(first.path, num_iterations=6))
    assert not same(first, whole)
    assert same(second, whole)
    assert same(Run.open(second.path), whole)
    assert metrics(second) == metrics(whole)


METHODS = {
    "promp": MAMLConfig(estimator="lvc", outer=AdamConfig(inner_kl_coef=1e-3, target_inner_kl=1e-3)),
    "meta-sgd": MAMLConfig(learned_rates="parameter"),
    "meta-sgd by adam": MAMLConfig(learned_rates="tensor", outer=AdamConfig()),
    "value": MAMLConfig(baseline="value", gae_lambda=0.9, entropy_coef=0.01),
    "reptile": ReptileConfig(average_last=0.75),
    "reptile with everything": ReptileConfig(inner_loss="ppo", inner_optimizer="adam", baseline="value"),
}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_resumes_in_the_middle_to_the_bit(make_run, method):
    settings = {"algorithm": METHODS[method], "num_iterations": 4}
    whole, run = trained_run(make_run("whole", **settings)), make_run("stopped", **settings)
    untouched = bits(run.state_dict())
    with pytest.raises(ZeroDivisionError), run.undone_on_error():
        train_iteration(run)
        assert bits(run.state_dict()) != untouched
        _ = 1 / 0
    assert bits(run.state_dict()) == untouched
    for _ in range(2):
        run.log(train_iteration(run))
    run.save()
    again = Run.open(run.path)
    assert again.config == run.config and bits(again.state_dict()) == bits(run.state_dict())
    trained_run(again)
    assert metrics(again) == metrics(whole)
    assert bits(again.state_dict()) == bits(whole.state_dict())
    assert torch.equal(Run.open(again.path).algorithm.inner.params, whole.algorithm.inner.params)


def test_what_came_after_the_checkpoint_is_done_again_and_logged_once(make_run):
    """As after a kill: metrics beyond the checkpoint, the last line half written."""
    whole = trained_run(make_run("whole"))
    run = make_run("killed", checkpoint_every=2)
    for _ in range(2):
        run.log(train_iteration(run))
    run.save()
    for _ in range(2):
        run.log(train_iteration(run))
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 5, "return_0": -1.')
    (run.path / ".checkpoint.pt.0123.partial").write_bytes(b"half")
    again = Run.open(run.path)
    assert again.iteration == 2
    assert same(trained_run(again), whole)
    assert metrics(again) == metrics(whole)
    assert not list(run.path.glob(".*"))


def test_a_run_killed_before_its_first_checkpoint_starts_again(make_run):
    whole = trained_run(make_run("whole"))
    run = make_run("killed")
    with run.locked():
        run.begin()
        run.log(train_iteration(run))
    again = Run.open(run.path)
    assert again.iteration == 0
    assert same(trained_run(again), whole)
    assert metrics(again) == metrics(whole)


def test_a_finished_run_is_not_touched(trained, files):
    before = files(trained), {path: path.stat().st_mtime_ns for path in trained.iterdir()}
    assert train(Run.open(trained), quiet=True) is None
    assert train(Run.open(trained, num_iterations=2), quiet=True) is None
    assert (files(trained), {path: path.stat().st_mtime_ns for path in trained.iterdir()}) == before


# --- Numbers that are not finite ---------------------------------------------------------------------------------


def stops_at_iteration_3(run: Run, reference: Run, sentence) -> str:
    """Training `run` ends with `NonFiniteError` in iteration 3 and keeps exactly `reference`, which had two."""
    with pytest.raises(NonFiniteError) as error:
        train(run, quiet=True)
    text = sentence(error)
    assert "Iteration 3 met numbers that are not finite" in text
    assert f"{run.path} keeps the state after iteration 2" in text
    assert same(run, reference)
    assert same(Run.open(run.path), reference)
    assert metrics(run) == metrics(reference)
    assert run.algorithm.params.isfinite().all()
    return text


@pytest.fixture
def two_iterations(make_run):
    return trained_run(make_run("two", num_iterations=2))


@pytest.mark.parametrize(("field", "value"), [("reward", math.nan), ("reward", math.inf), ("obs", math.nan)])
def test_an_environment_that_is_not_finite_stops_training(make_run, two_iterations, field, value, sentence):
    run = make_run()
    on_iteration(run, 3, lambda r: dataclasses.replace(r, **{field: torch.full_like(getattr(r, field), value)}))
    assert "return_1)" in stops_at_iteration_3(run, two_iterations, sentence)


def test_an_update_that_is_not_finite_is_taken_back(make_run, two_iterations, sentence, monkeypatch):
    for name, value, poison in (("grad_norm", math.nan, False), ("parameter", 1.0, True)):
        run = make_run(name)
        update = run.algorithm.update

        def spoiled(trajectories, run=run, update=update, name=name, value=value, poison=poison):
            result = update(trajectories)
            if run.iteration == 2:
                run.algorithm.meta = run.algorithm.meta * (math.inf if poison else 2.0)
                result[name] = value
            return result

        monkeypatch.setattr(run.algorithm, "update", spoiled)
        assert f"({name})" in stops_at_iteration_3(run, two_iterations, sentence)


def test_a_value_network_that_is_not_finite_is_taken_back(make_run, sentence, monkeypatch):
    """Its own numbers would not show before the next iteration, when they are in the checkpoint."""
    run = make_run(algorithm=MAMLConfig(baseline="value"))
    before, value = bits(run.state_dict()), run.algorithm.value
    monkeypatch.setattr(value.optimizer, "step", lambda: value.module[0].weight.data.fill_(math.nan))
    with pytest.raises(NonFiniteError) as error:
        train(run, quiet=True)
    assert "Iteration 1 met numbers that are not finite (value_explained)" in sentence(error)
    assert bits(Run.open(run.path).state_dict()) == before


def test_a_huge_inner_step_stops_training_at_once(make_run, sentence):
    run = make_run(inner_lr=1e38)
    start = run.algorithm.params.clone()
    with pytest.raises(NonFiniteError) as error:
        train(run, quiet=True)
    assert "Iteration 1 met" in sentence(error)
    assert torch.equal(Run.open(run.path).algorithm.params, start)


def test_a_stopped_run_stops_again_when_it_goes_on(make_run, sentence):
    """The state is the one before the iteration, random numbers included."""
    run = make_run(inner_lr=1e38)
    for one in (lambda: run, lambda: Run.open(run.path)):
        with pytest.raises(NonFiniteError, match="Iteration 1 met"):
            train(one(), quiet=True)


# --- Other errors ------------------------------------------------------------------------------------------------


def boom(result):
    raise ZeroDivisionError("a fault in the environment")


def test_any_error_keeps_the_iterations_before_it(make_run, two_iterations):
    run = make_run()
    on_iteration(run, 3, boom)
    with pytest.raises(ZeroDivisionError):
        train(run, quiet=True)
    assert same(Run.open(run.path), two_iterations)
    whole = trained_run(make_run("whole"))
    again = trained_run(Run.open(run.path))
    assert same(again, whole)
    assert metrics(again) == metrics(whole)


def full_disk(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_first_error_is_told_when_saving_fails_as_well(make_run, monkeypatch):
    run = make_run()
    run.save()
    on_iteration(run, 2, nan_reward)
    monkeypatch.setattr(run, "save", full_disk)
    with pytest.raises(NonFiniteError, match="Iteration 2"):
        train(run, quiet=True)


def test_a_full_disk_ends_training_and_keeps_the_last_good_checkpoint(make_run, two_iterations, monkeypatch):
    run = make_run()
    run.save()
    start, log = Run.open(run.path), run.log

    def log_until_the_disk_is_full(line):
        if line["iteration"] == 3:
            monkeypatch.setattr(os, "fsync", full_disk)
            full_disk()
        log(line)

    monkeypatch.setattr(run, "log", log_until_the_disk_is_full)
    with pytest.raises(OSError, match="No space left"):
        train(run, quiet=True)
    assert same(run, two_iterations)
    assert same(Run.open(run.path), start)
    assert not list(run.path.glob(".*"))


def test_a_failed_checkpoint_ends_training_and_keeps_the_one_before(make_run, two_iterations, monkeypatch):
    run = make_run(checkpoint_every=1)
    on_iteration(run, 3, lambda result: (monkeypatch.setattr(os, "fsync", full_disk), result)[1])
    with pytest.raises(OSError, match="No space left"):
        train(run, quiet=True)
    monkeypatch.undo()
    assert same(Run.open(run.path), two_iterations)
    whole = trained_run(make_run("whole"))
    again = trained_run(Run.open(run.path))
    assert same(again, whole)
    assert metrics(again) == metrics(whole)


# --- Signals -----------------------------------------------------------------------------------------------------


def sends(*signals):
    def act(result):
        for number in signals:
            os.kill(os.getpid(), number)
        return result

    return act


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_training_after_the_iteration(make_run, two_iterations, number, capsys):
    run = make_run()
    handlers = [signal.getsignal(s) for s in STOPPING]
    on_iteration(run, 2, sends(number))
    assert train(run, quiet=True) == number
    assert [signal.getsignal(s) for s in STOPPING] == handlers
    assert "Stopping after this iteration" in capsys.readouterr().err
    assert same(Run.open(run.path), two_iterations)
    assert metrics(run) == metrics(two_iterations)


@pytest.fixture
def interruptible():
    """Ctrl-C raises `KeyboardInterrupt`, also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_second_signal_ends_it_at_once_and_keeps_the_iterations_before(make_run, two_iterations):
    run = make_run()
    on_iteration(run, 3, sends(signal.SIGINT, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(run, quiet=True)
    assert same(Run.open(run.path), two_iterations)
    assert metrics(run) == metrics(two_iterations)


def test_nohup_is_respected(make_run):
    run = make_run(num_iterations=2)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    on_iteration(run, 1, sends(signal.SIGHUP))
    try:
        assert train(run, quiet=True) is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert run.iteration == 2


def test_a_terminal_that_is_gone_costs_no_iteration(make_run, monkeypatch):
    def gone(*args, **kwargs):
        raise OSError(errno.EIO, "Input/output error")

    run = make_run()
    on_iteration(run, 2, sends(signal.SIGHUP))
    monkeypatch.setattr(sys.stderr, "write", gone)
    assert train(run, quiet=True) == signal.SIGHUP
    assert Run.open(run.path).iteration == 2


def test_signals_are_left_alone_outside(capsys):
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as stop:
        assert stop.received is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.received == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_run_of_no_iterations_keeps_its_start(make_run):
    with pytest.raises(InputError, match=r"num_iterations must be at least 0, not -1\."):
        make_run("negative", num_iterations=-1)
    run = make_run(num_iterations=0)
    start = run.algorithm.params.clone()
    assert train(run, quiet=True) is None
    assert run.iteration == 0 and torch.equal(run.algorithm.params, start)


def test_more_inner_steps_give_more_returns(make_run, tmp_path):
    run = make_run()
    algorithm = dataclasses.replace(run.config.algorithm, num_inner_steps=3)
    config = dataclasses.replace(run.config, algorithm=algorithm, num_iterations=1)
    deeper = Run(tmp_path / "deeper", "maml-point", config, run.env_config)
    deeper.create()
    trained_run(deeper)
    assert {f"return_{k}" for k in range(4)} <= metrics(deeper)[0].keys()
    assert deeper.env_steps == 4 * 2 * 3 * 5
