"""Bandits: the laws of tasks and rewards, and the counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from bandits import bandit, generator
from torch import Generator

import envs
from envs.bandit import Bandit, Task


def pull(env: Bandit, task: Task, actions, draws: Generator):
    """Take `actions` [steps][N, E] from a reset. Returns the last StepResult and rewards [steps, N, E]."""
    state, _ = env.reset(task, actions[0].shape[1], draws)
    rewards = []
    for action in actions:
        result = env.step(task, state, action, draws)
        state = result.state
        rewards.append(result.reward)
    return result, torch.stack(rewards)


class TestTasks:
    """Means are independent over arms and tasks, and follow the law of each split."""

    @pytest.mark.parametrize(
        ("rewards", "prior", "split", "mean", "std", "support"),
        [
            ("bernoulli", "uniform", "train", 0.5, 12**-0.5, (0, 1)),
            ("bernoulli", "uniform", "test", 0.5, 12**-0.5, (0, 1)),
            ("bernoulli", "uniform", "ood", 0.05, 0.1 * 12**-0.5, (0, 0.1)),
            ("gaussian", "uniform", "train", 0.5, 12**-0.5, (0, 1)),
            ("gaussian", "uniform", "ood", 1.5, 12**-0.5, (1, 2)),
            ("gaussian", "normal", "train", 0.0, 1.0, None),
            ("gaussian", "normal", "test", 0.0, 1.0, None),
            ("gaussian", "normal", "ood", 3.0, 1.0, None),
        ],
    )
    def test_moments_support_and_independence(self, rewards, prior, split, mean, std, support):
        n, k = 30_000, 4
        drawn = bandit(k, 10, rewards, prior).sample_tasks(n, generator(1), split).mean
        assert drawn.shape == (n, k) and drawn.dtype == torch.float32
        error = std / math.sqrt(n)
        assert drawn.mean(0).numpy() == pytest.approx(np.full(k, mean), abs=5 * error)
        assert drawn.std(0).numpy() == pytest.approx(np.full(k, std), rel=0.03)
        correlation = drawn.T.corrcoef() - torch.eye(k)
        assert correlation.abs().max() < 5 / math.sqrt(n), "arms are independent"
        lanes = torch.stack([drawn[:-1, 0], drawn[1:, 0]]).corrcoef()[0, 1]
        assert abs(lanes) < 5 / math.sqrt(n), "and so are tasks"
        if support is not None:
            low, high = support
            assert low <= drawn.min() < low + 0.01 * (high - low) and high - 0.01 * (high - low) < drawn.max() <= high
            counts = torch.histc((drawn - low) / (high - low), 10, 0, 1) / drawn.numel()
            assert counts.numpy() == pytest.approx(np.full(10, 0.1), abs=0.005), "uniform throughout"

    def test_splits_are_described(self):
        splits = bandit().splits
        assert splits["ood"] == "probabilities uniform in [0, 0.1], where a pull rarely pays"
        assert bandit(rewards="gaussian", prior="normal").splits["train"] == "means drawn from N(0, 1)"


class TestSteps:
    @pytest.mark.parametrize("rewards", ["bernoulli", "gaussian"])
    def test_rewards_follow_the_law_of_the_arm(self, rewards):
        env, lanes = bandit(3, 10, rewards), 20_000
        task = Task(torch.tensor([[0.0, 0.3, 1.0], [0.9, 0.5, 0.1]]))
        for arm in range(3):
            action = torch.full((2, lanes), arm)
            reward = pull(env, task, [action, action], generator(arm))[1].double()
            p = task.mean[:, arm].double()
            variance = p * (1 - p) if rewards == "bernoulli" else torch.ones(2)
            error = 5 * (variance / (2 * lanes)).sqrt() + 1e-9
            assert ((reward.mean((0, 2)) - p).abs() <= error).all()
            assert reward.transpose(0, 1).flatten(1).var(1).numpy() == pytest.approx(variance.numpy(), abs=0.03)
            if rewards == "bernoulli":
                assert set(reward.unique().tolist()) <= {0.0, 1.0}
            both = reward[0] - p[:, None], reward[1] - p[:, None]
            assert (both[0] * both[1]).mean(1).abs().max() < 0.03, "successive pulls are independent"
            assert (both[0][0] * both[0][1]).mean().abs() < 0.03, "and so are tasks"

    @pytest.mark.parametrize("rewards", ["bernoulli", "gaussian"])
    def test_the_state_counts_pulls_and_sums_rewards(self, rewards):
        env = bandit(4, 30, rewards)
        task, draws = env.sample_tasks(3, generator(1)), generator(2)
        actions = [torch.randint(4, (3, 2), generator=draws) for _ in range(30)]
        result, received = pull(env, task, actions, draws)
        chosen = torch.stack(actions)
        for n in range(3):
            for e in range(2):
                for arm in range(4):
                    which = chosen[:, n, e] == arm
                    assert result.state.pulls[n, e, arm] == which.sum()
                    assert result.state.rewards[n, e, arm].item() == pytest.approx(
                        received[which, n, e].sum().item(), abs=1e-4
                    )
        assert not result.terminated.any()

    def test_a_step_leaves_its_arguments_alone(self):
        env = bandit()
        task = env.sample_tasks(2, generator())
        state, _ = env.reset(task, 3, generator())
        env.step(task, state, torch.zeros(2, 3, dtype=torch.int64), generator())
        assert not state.pulls.any() and not state.rewards.any()

    def test_a_row_of_a_batch_steps_as_it_would_alone(self):
        env = bandit(3, 10)
        task = Task(torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]))  # nothing is left to chance
        draws = generator(1)
        actions = [torch.randint(3, (3, 2), generator=draws) for _ in range(10)]
        batch, received = pull(env, task, actions, draws)
        for n in range(3):
            for e in range(2):
                lane = [action[n : n + 1, e : e + 1] for action in actions]
                alone, rewards = pull(env, task[n : n + 1], lane, generator(2))
                assert torch.equal(alone.state.pulls[0, 0], batch.state.pulls[n, e])
                assert torch.equal(alone.state.rewards[0, 0], batch.state.rewards[n, e])
                assert torch.equal(rewards[:, 0, 0], received[:, n, e])

    @pytest.mark.parametrize("rewards", ["bernoulli", "gaussian"])
    def test_equal_noise_gives_equal_rewards_whatever_the_batch(self, rewards, monkeypatch):
        drawn = torch.randn(3, 2, generator=generator(3)).sigmoid()
        env, mean = bandit(3, 10, rewards), torch.tensor([[0.2, 0.5, 0.8], [0.7, 0.1, 0.4], [0.9, 0.6, 0.3]])
        action = torch.tensor([[0, 1], [2, 0], [1, 1]])

        def reward(rows: slice, lanes: slice) -> torch.Tensor:
            for name in ("rand", "randn"):
                monkeypatch.setattr(torch, name, lambda shape, **_: drawn[rows, lanes].reshape(shape))
            return pull(env, Task(mean[rows]), [action[rows, lanes]], generator())[1][0]

        batch = reward(slice(3), slice(2))
        assert len(batch.unique()) > 1
        for n in range(3):
            for e in range(2):
                assert torch.equal(reward(slice(n, n + 1), slice(e, e + 1))[0, 0], batch[n, e])


class TestObservations:
    def test_a_constant_is_one_and_time_is_the_share_of_pulls_spent(self):
        for observation, expected in (("constant", [1.0] * 5), ("time", [0.0, 0.25, 0.5, 0.75, 1.0])):
            env = bandit(3, 4, observation=observation)
            task, draws = env.sample_tasks(2, generator(1)), generator(2)
            state, obs = env.reset(task, 3, draws)
            seen = [obs]
            for _ in range(4):
                result = env.step(task, state, env.random_actions(task, state, None, draws), draws)
                state = result.state
                seen.append(result.obs)
            assert torch.equal(torch.stack(seen), torch.tensor(expected).view(5, 1, 1, 1).expand(5, 2, 3, 1))

    def test_a_pull_is_one_hot_and_zero_when_all_are_made(self):
        env = bandit(3, 2, observation="pull")
        task, draws = env.sample_tasks(2, generator(1)), generator(2)
        state, obs = env.reset(task, 3, draws)
        seen = [obs[1, 2].tolist()]
        for _ in range(2):
            result = env.step(task, state, env.random_actions(task, state, None, draws), draws)
            state = result.state
            seen.append(result.obs[1, 2].tolist())
        assert seen == [[1, 0], [0, 1], [0, 0]]

    @pytest.mark.parametrize("observation", ["constant", "time"])
    def test_they_do_not_tell_the_task(self, observation):
        env = bandit(3, 4, observation=observation)
        task, draws = env.sample_tasks(500, generator(1)), generator(2)
        state, obs = env.reset(task, 1, draws)
        later = env.step(task, state, env.random_actions(task, state, None, draws), draws).obs
        for x in (obs, later):
            assert len(x.unique()) == 1, "the same for all tasks, so nothing can be decoded"


class TestBadInput:
    @pytest.mark.parametrize("mean", [[0.5] * 4, [0.5, 0.5, 0.5, 0.5, 1.1], [-0.1] * 5, [math.nan] * 5, "x", 0.5])
    def test_a_task_that_does_not_fit_is_refused(self, mean):
        with pytest.raises(envs.InputError, match="The task field 'mean' must lie in"):
            bandit().task_from_dicts([{"mean": mean}])

    def test_splits_and_numbers_of_tasks_are_checked(self):
        with pytest.raises(envs.InputError, match="Unknown split 'odd'"):
            bandit().sample_tasks(1, generator(), "odd")
        with pytest.raises(envs.InputError, match="at least 1, not 0"):
            bandit().sample_tasks(0, generator())


def test_regret_is_what_the_arms_lack_in_the_mean():
    env = envs.make("gaussian-bandit", "lee2023", horizon=3)
    task = Task(torch.tensor([[0.1, 0.9, 0.4, 0.2, 0.0]]))
    action = torch.tensor([[[0, 1], [1, 1], [2, 1]]])  # two lanes
    regret = env.scores(task, None, action, torch.zeros(1, 3, 2))["regret"]
    assert regret[0].tolist() == pytest.approx([0.8 + 0.5, 0.0])


def test_the_deviation_of_rewards_is_that_of_the_preset():
    env, lanes = envs.make("gaussian-bandit", "lee2023"), 20_000
    task = Task(torch.full((1, 5), 0.5))
    reward = pull(env, task, [torch.zeros(1, lanes, dtype=torch.int64)], generator(1))[1]
    assert reward.std().item() == pytest.approx(0.3, rel=0.03)
    with pytest.raises(envs.InputError, match="reward_std"):
        envs.make("bernoulli-bandit", reward_std=0.5)
