"""Traced rollouts: those of plain steps to the last bit, on one thread and on two, or plain steps."""

import dataclasses
import itertools

import pytest
import torch
from torch import Generator

import envs
from envs.structs import tensors_of
from metarl.backend.cores import on_threads
from metarl.learning.rollout import policy_actor, policy_rollout, rollout
from metarl.learning.traced_rollout import traced_rollout
from metarl.policies.encoders import policy_for
from metarl.policies.mlp import MLPConfig

FAMILIES = ("point", "bernoulli-bandit", "tabular-mdp", "gridworld", "repeat-previous")


def played(env, num_tasks=8, num_envs=16, rollouts=4):
    """Rollouts in turn, plain and by `policy_rollout`, and the traced one that this made."""
    generator, same = Generator().manual_seed(0), Generator()
    policy, task = policy_for(env, MLPConfig((8,))), env.sample_tasks(num_tasks, generator)
    params = policy.init(generator).expand(num_tasks, -1)
    same.set_state(generator.get_state())
    plain = [rollout(env, policy_actor(policy, params, generator), task, num_envs, generator) for _ in range(rollouts)]
    found = [policy_rollout(env, policy, params, task, num_envs, same) for _ in range(rollouts)]
    assert torch.equal(generator.get_state(), same.get_state())
    return plain, found, traced_rollout(env, policy, task, num_envs)


def check_same(plain, found):
    for a, b in zip(plain, found, strict=True):
        for x, y in zip(tensors_of(a), tensors_of(b), strict=True):
            assert x.dtype == y.dtype and torch.equal(x, y)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_they_are_plain_ones_to_the_last_bit(family, threads):
    with on_threads(threads):
        plain, found, traced = played(envs.make(family))
    assert traced.agrees and traced.calls == 2
    check_same(plain, found)


def test_tasks_that_do_not_divide_among_threads():
    with on_threads(2):
        plain, found, traced = played(envs.make("point"), num_tasks=5, num_envs=32)
    assert traced.agrees and sorted(traced.loops) == [2, 3]
    check_same(plain, found)


def with_step(change):
    """2D navigation whose results `change` alters."""
    env = envs.make("point")
    step = env.step

    def changed(task, state, action, generator):
        return change(step(task, state, action, generator))

    env.step = changed
    return env


def test_a_step_that_depends_on_more_than_tensors_stays_plain():
    count = itertools.count()
    *_, traced = played(with_step(lambda r: dataclasses.replace(r, reward=r.reward + next(count))))
    assert not traced.agrees


def test_a_step_that_reads_a_tensor_stays_plain():
    plain, found, traced = played(
        with_step(lambda r: dataclasses.replace(r, reward=r.reward * 2) if bool(r.terminated.any()) else r)
    )
    assert not traced.agrees
    check_same(plain, found)
