"""Every environment of the real package as a family, and what is said where the package is missing."""

from __future__ import annotations

import sys
import tempfile

import numpy as np
import pytest
import torch
from gymnasium import spaces

import envs
from envs import InputError
from envs.core import Env

popgym = pytest.importorskip("envs.extras.popgym", reason="popgym is an extra")
from envs.workers.worker import Share  # noqa: E402

ONE = "popgym-mine-sweeper-easy"


def made(name: str) -> Env:
    family = popgym.family(name)
    return family(family.presets["default"], torch.device("cpu"))


def played_here(env, actions: np.ndarray, seeds: list[int]) -> list[np.ndarray]:
    """Observations before each step and after the last, by a worker's code without the time that a process takes.

    Raises what a worker would report.
    """
    share = Share(env.frames.program, 0)
    with tempfile.NamedTemporaryFile() as file:
        share.attach(file.name, len(seeds), 1, env.pool.obs, env.pool.action, 0)
    share.memory.starting[:], share.memory.seed[:] = True, seeds
    share.begin(0, len(seeds), [0] * len(seeds), [{"game": 0}])
    seen = [share.memory.obs.copy()]
    for action in actions:
        share.memory.action[:] = action
        share.step()
        seen.append(share.memory.obs.copy())
    return seen


def test_there_are_three_of_each_of_fourteen_environments():
    assert len(popgym.names()) == 42 and "repeat-previous-easy" in popgym.names()
    levels = [name.rpartition("-")[2] for name in popgym.names()]
    assert {level: levels.count(level) for level in levels} == {"easy": 14, "medium": 14, "hard": 14}


def test_every_environment_gives_its_own_observations_until_the_longest_episode_ends():
    for name in popgym.names():
        env, alone = made(name), popgym.CLASSES[name]()
        alone.action_space.seed(0)
        action = np.array([np.reshape(alone.action_space.sample(), env.action_space.shape) for _ in range(env.horizon)])
        seen = played_here(env, action[:, None], [3])
        obs, _ = alone.reset(seed=3)
        for step in range(env.horizon + 1):
            assert np.allclose(seen[step][0], spaces.flatten(alone.observation_space, obs)), (name, step)
            assert env.observation_space.contains(seen[step][0])
            if step == env.horizon:
                break
            obs, _, terminated, truncated, _ = alone.step(action[step])
            if terminated:
                break
        assert terminated or (truncated and step >= env.horizon - 1), name


def test_a_family_is_registered_when_it_is_asked_for(asked):
    assert ONE not in envs.FAMILIES
    env = envs.make(ONE, workers=1)
    assert envs.FAMILIES[ONE].gym_id == "metarl/PopgymMineSweeperEasy-v0"
    assert set(env.splits.values()) == {"a single task"} and env.mmer_steps == envs.make("autoencode").mmer_steps > 0
    envs.check_env(env, images=False)


@pytest.mark.parametrize("id", ["popgym-mine-sweeper", "popgym-", "popgym"])
def test_another_name_is_refused(asked, id, sentence):
    with pytest.raises(InputError) as error:
        envs.make(id)
    sentence(error)


def test_without_the_package_the_extra_is_named(asked, monkeypatch, script, sentence):
    monkeypatch.setitem(sys.modules, "popgym", None)
    with pytest.raises(InputError) as error:
        envs.make(ONE)
    assert 'pip install "metarl-toolkit[popgym]"' in sentence(error)
    result = script("train", f"rl2-{ONE}")
    assert result.status == 2 and 'pip install "metarl-toolkit[popgym]"' in sentence(result.err)
    monkeypatch.setattr(envs.registry, "FAMILIES", {})
    monkeypatch.setattr(envs, "FAMILIES", {})
    assert 'pip install "metarl-toolkit[popgym]"' in script("list_envs").out
