"""rollout and collect: lock step, masks, episode boundaries, reproducibility, independence of tasks."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

import envs
from metarl.learning.rollout import (
    SMALL_LANES,
    Trajectory,
    collect,
    policy_actor,
    reference_rollout,
    rollout,
    small_tensors_on_one_thread,
    task_slices,
)
from metarl.policies.mlp import MLPConfig, make_policy

HORIZON = 8


@pytest.fixture
def env():
    return envs.make("point", horizon=HORIZON, goal_tolerance=0.05)


def constant_actor(action):
    return lambda inputs, state, memory: (torch.tensor(action).expand(*inputs.obs.shape[:2], 2), memory)


def test_rollout_by_hand():
    """A point that moves right by 0.1 a step passes a goal at (0.3, 0): distances 0.2, 0.1, 0, then the end."""
    env = envs.make("point", horizon=5)
    task = env.task_from_dicts([{"goal": [0.3, 0.0]}, {"goal": [0.0, 0.5]}])
    t = rollout(env, constant_actor([1.0, 0.0]), task, 2, Generator())
    assert t.obs.shape == (2, 5, 2, 2) and t.reward.shape == (2, 5, 2)
    torch.testing.assert_close(t.obs[0, :, 0, 0], torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4]))
    torch.testing.assert_close(t.reward[0, :, 0], torch.tensor([-0.04, -0.01, 0, 0, 0]), atol=1e-6, rtol=0)
    assert t.mask[0, :, 0].tolist() == [1, 1, 1, 0, 0]
    assert t.mask[1].min() == 1
    torch.testing.assert_close(t.returns[0, 0], torch.tensor(-0.05))
    torch.testing.assert_close(t.returns[1, 1], -torch.tensor([0.01, 0.04, 0.09, 0.16, 0.25]).add(0.25).sum())


def test_inputs_hold_the_previous_action_and_reward_and_the_starts_of_episodes(env):
    generator = Generator().manual_seed(0)
    task = env.sample_tasks(2, generator)
    seen = []

    def act(inputs, state, memory):
        seen.append(inputs)
        return torch.randn(2, 3, 2, generator=generator), (memory or 0) + 1

    t = rollout(env, act, task, 3, generator, num_episodes=2)
    assert t.reward.shape == (2, 2 * HORIZON, 3)
    assert t.first[0, :, 0].nonzero().flatten().tolist() == [0, HORIZON]
    assert torch.all(t.obs[:, HORIZON] == 0), "the second episode starts anew"
    assert torch.all(t.mask[:, HORIZON] == 1), "a lane that terminated runs again"
    for k, inputs in enumerate(seen):
        for name in ("obs", "prev_action", "prev_reward", "first"):
            assert torch.equal(getattr(inputs, name), getattr(t.inputs, name)[:, k]), name
    assert torch.equal(t.inputs.prev_reward[:, HORIZON], t.reward[:, HORIZON - 1]), "memory crosses episodes"


def test_memory_is_carried_through_the_rollout(env):
    counts = []

    def act(inputs, state, memory):
        counts.append(memory)
        return torch.zeros(1, 1, 2), memory + 1

    rollout(env, act, env.sample_tasks(1, Generator()), 1, Generator(), num_episodes=2, memory=10)
    assert counts == list(range(10, 10 + 2 * HORIZON))


def test_the_same_seed_gives_the_same_trajectories_twice(env):
    def run(seed):
        generator = Generator().manual_seed(seed)
        policy = make_policy(env.observation_space, env.action_space, MLPConfig((4,)))
        params = policy.init(generator)
        return collect(
            env, policy, params, env.sample_tasks(3, generator), [lambda p, m, t: (p + 0.1, m)], 2, generator
        )

    torch.manual_seed(1)
    first = run(5)
    torch.manual_seed(2)
    for a, b in zip(first, run(5), strict=True):
        assert torch.equal(a.obs, b.obs) and torch.equal(a.reward, b.reward)
    assert not torch.equal(first[0].action, run(6)[0].action)


def test_collect_rolls_out_with_the_adapted_parameters(env):
    """An adapter that steers one task to the right and the other up shows in the next rollout, and only there."""
    policy = make_policy(env.observation_space, env.action_space, MLPConfig((), init_std=0.01))
    params = torch.zeros(policy.num_parameters)
    params[-2:] = -5.0  # log standard deviations
    target = params.repeat(2, 1)
    layer = policy.unflatten(target)[0][0]
    layer[0, 0, -1], layer[1, 1, -1] = 1.0, 1.0  # biases of the means
    before, after = collect(
        env, policy, params, env.sample_tasks(2, Generator()), [lambda p, m, t: (target, m)], 4, Generator()
    )
    assert before.obs[:, -1].abs().max() < 0.05
    torch.testing.assert_close(after.obs[0, -1].mean(0), torch.tensor([0.7, 0.0]), atol=0.02, rtol=0)
    torch.testing.assert_close(after.obs[1, -1].mean(0), torch.tensor([0.0, 0.7]), atol=0.02, rtol=0)


def test_a_policy_acts_on_each_task_with_its_own_parameters(env):
    generator = Generator().manual_seed(0)
    policy = make_policy(env.observation_space, env.action_space, MLPConfig((4,), init_std=1e-6))
    params = torch.stack([policy.init(generator) for _ in range(3)])
    task = env.sample_tasks(3, generator)
    together = rollout(env, policy_actor(policy, params, generator), task, 2, generator)
    for i in range(3):
        alone = rollout(env, policy_actor(policy, params[i : i + 1], generator), task[i : i + 1], 2, generator)
        torch.testing.assert_close(alone.obs[0], together.obs[i], atol=1e-4, rtol=0)


def test_references_are_rolled_out_like_policies(env):
    task = env.task_from_dicts([{"goal": [0.2, 0.0]}])
    t = reference_rollout(env, env.references()["straight line"], task, 1, Generator())
    torch.testing.assert_close(t.obs[0, :3, 0, 0], torch.tensor([0.0, 0.1, 0.2]))


def test_episodes_of_a_trial_are_its_parts_with_their_states(env):
    trial = rollout(
        env, constant_actor([1.0, 0.0]), env.sample_tasks(2, Generator()), 3, Generator(), 2, keep_states=True
    )
    episodes = trial.episodes(HORIZON)
    assert len(episodes) == 2
    for k, episode in enumerate(episodes):
        assert torch.equal(episode.obs, trial.obs[:, k * HORIZON : (k + 1) * HORIZON])
        assert torch.equal(episode.reward, trial.reward[:, k * HORIZON : (k + 1) * HORIZON])
        position = next(iter(vars(episode.states).values()))
        assert position.shape[:4] == (2, 1, HORIZON + 1, 3)
        torch.testing.assert_close(position[:, 0, :-1], episode.obs)
        torch.testing.assert_close(position[:, 0, -1, :, 0], episode.obs[:, -1, :, 0] + 0.1)


def test_the_ends_of_episodes_are_kept_where_they_are_asked_for():
    env = envs.make("point", horizon=4)
    task, act = env.task_from_dicts([{"goal": [0.3, 0.0]}, {"goal": [-0.3, 0.0]}]), constant_actor([1.0, 0.0])
    trial = rollout(env, act, task, 1, Generator(), 2, keep_ends=True)
    assert trial.ends.terminated.flatten(1).tolist() == [[True, True], [False, False]]
    torch.testing.assert_close(trial.ends.obs, torch.tensor([0.4, 0.0]).expand(2, 2, 1, 2))
    assert all(episode.ends is None for episode in trial.episodes(4))
    assert rollout(env, act, task, 1, Generator()).ends is None


def test_after_an_end_a_policy_sees_no_action():
    env = envs.make("point", horizon=5)
    t = rollout(env, constant_actor([1.0, 0.0]), env.task_from_dicts([{"goal": [0.3, 0.0]}]), 1, Generator())
    assert t.mask[0, :, 0].tolist() == [1, 1, 1, 0, 0]
    assert t.inputs.prev_action[0, :, 0, 0].tolist() == [0, 1, 1, 1, 0]


def test_episodes_of_one_step_start_anew():
    env = envs.make("point", horizon=1)
    t = rollout(env, constant_actor([1.0, 0.0]), env.sample_tasks(1, Generator()), 1, Generator(), num_episodes=3)
    assert torch.all(t.obs == 0) and t.first.all() and t.mask.all()


def test_previous_actions_are_of_the_kind_of_the_action_space():
    env, kinds = envs.make("gridworld"), set()

    def act(inputs, state, memory):
        kinds.add(inputs.prev_action.dtype)
        return torch.zeros(1, 1, dtype=torch.int64), memory

    rollout(env, act, env.sample_tasks(1, Generator()), 1, Generator())
    assert kinds == {torch.int64}


def test_adapters_are_given_parameters_without_a_graph(env):
    policy = make_policy(env.observation_space, env.action_space, MLPConfig((4,)))
    params, given = policy.init(Generator().manual_seed(0)).requires_grad_(), []
    task = env.sample_tasks(2, Generator())
    collect(env, policy, params, task, [lambda p, m, t: (given.append(p.requires_grad) or p, m)], 1, Generator())
    assert given == [False]


@pytest.mark.parametrize(("limit", "size"), [(1, 1), (2 * 4 * 3, 2), (3 * 4 * 3 - 1, 2), (1000, 5)])
def test_groups_hold_every_task_once_and_no_more_steps_than_fit(monkeypatch, limit, size):
    monkeypatch.setattr("metarl.learning.rollout.CHUNK_STEPS", limit)
    zero = torch.zeros(5, 4, 3)
    groups = [list(range(5))[tasks] for tasks in task_slices(Trajectory(zero, zero, zero, zero, zero.bool()))]
    assert [task for group in groups for task in group] == list(range(5))
    assert max(map(len, groups)) == size and all(groups)


def test_few_lanes_are_computed_on_one_thread():
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        for lanes in (SMALL_LANES, SMALL_LANES + 1):
            with pytest.raises(ZeroDivisionError), small_tensors_on_one_thread(lanes):
                seen.append(torch.get_num_threads())
                _ = 1 / 0
            seen.append(torch.get_num_threads())
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 2, 2, 2]
