"""Trials by compiled steps: those of the plain ones, from the same random numbers."""

import copy
import dataclasses
import shutil

import pytest
import torch
import trials
from torch import Generator

from envs import InputError
from envs.structs import tensors_of
from metarl.algorithms.recurrent_ppo import RecurrentPPO, RecurrentPPOConfig
from metarl.backend import compiled
from metarl.policies.metanet import MetaNetConfig
from metarl.policies.rl2 import RL2Config

SMALL = MetaNetConfig(hidden_size=8, num_heads=2, key_size=2, code_size=4)


def check(env, config):
    """Are trials that compiled steps play the plain ones?"""
    generator = Generator().manual_seed(0)
    network = trials.make(env, config)
    algorithm = RecurrentPPO(RecurrentPPOConfig(num_episodes=trials.EPISODES), network, generator, 2)
    for _ in range(2):
        task, played = env.sample_tasks(3, generator), []
        state = generator.get_state()
        for algorithm.compiles_acting in (False, True):
            generator.set_state(state)
            played.append(algorithm.collect(env, task, 2, generator)[0])
        for right, found in zip(*map(tensors_of, played), strict=True):
            assert found.dtype == right.dtype
            torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-5)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1.2)
    assert algorithm.trials is not None
    return [run for run, _ in algorithm.trials.steps.values()]


@pytest.mark.parametrize(("make_env", "config"), [(trials.plane, RL2Config(8)), (trials.board, SMALL)])
def test_exported_steps_play_the_plain_trials(monkeypatch, make_env, config):
    monkeypatch.setattr(compiled, "_package", lambda program, module: lambda tensors: program.module()(*tensors))
    assert None not in check(make_env(), config)


def test_steps_that_keep_old_parameters_are_not_used(monkeypatch):
    def frozen(program, module):
        kept = copy.deepcopy(program.module())
        return lambda tensors: kept(*tensors)

    monkeypatch.setattr(compiled, "_package", frozen)
    with pytest.warns(UserWarning, match="differ from the plain ones"):
        assert check(trials.board(), RL2Config(8)) == [None]


def test_without_a_compiler_trials_are_the_plain_ones(monkeypatch):
    monkeypatch.setattr(compiled, "_package", None)
    with pytest.warns(UserWarning, match="not compiled"):
        assert check(trials.board(), RL2Config(8)) == [None]


def test_a_memory_that_grows_is_not_compiled():
    with pytest.warns(UserWarning, match="grows with the trial"):
        assert check(trials.board(), dataclasses.replace(SMALL, memory="full")) == [None]


def test_an_environment_that_breaks_the_contract_is_named(monkeypatch, sentence):
    env, generator = trials.board(), Generator().manual_seed(0)
    algorithm = RecurrentPPO(RecurrentPPOConfig(num_episodes=1), trials.make(env, RL2Config(8)), generator, 2)
    algorithm.compile_acting()
    step = env.step
    wide = lambda *given: dataclasses.replace(step(*given), reward=torch.zeros(1, 1))  # noqa: E731  it would broadcast
    monkeypatch.setattr(env, "step", wide)
    with pytest.raises(InputError) as error:
        algorithm.collect(env, env.sample_tasks(3, generator), 2, generator)
    assert "reward" in sentence(error)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a compiler")
def test_compiled_steps_play_the_plain_trials_and_a_second_run_finds_their_code(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert None not in check(trials.board(), SMALL)
    monkeypatch.setattr(compiled, "_build", None)
    assert None not in check(trials.board(), SMALL)
