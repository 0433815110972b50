"""Planning and PSRL against exact values."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from tabulars import generator, make, state_at

from envs.core import Transition
from envs.tabular import Tabular, Task
from envs.tabular.references import PSRL, backward_induction
from metarl.learning.rollout import reference_rollout


def mean_and_error(x: torch.Tensor) -> tuple[float, float]:
    """Mean over instances, and four standard errors of it."""
    x = x.double().flatten()
    return x.mean().item(), 4 * x.std().item() / len(x) ** 0.5


def evaluate_policy(task: Task, policy: np.ndarray) -> float:
    """Expected return from state 0 of a time-dependent policy [T, S] on the one MDP of `task`."""
    p, r = task.transition[0].double().numpy(), task.reward_mean[0].double().numpy()
    occupancy, value, states = np.eye(len(p))[0], 0.0, np.arange(len(p))
    for actions in policy:
        value += occupancy @ r[states, actions]
        occupancy = occupancy @ p[states, actions]
    return float(value)


def returns(
    env: Tabular, name: str, task: Task, num_episodes: int = 1, num_envs: int = 1, seed: int = 0
) -> torch.Tensor:
    """[N, E, num_episodes]."""
    rewards = reference_rollout(env, env.references()[name], task, num_envs, generator(seed), num_episodes).reward
    return rewards.unflatten(1, (num_episodes, env.horizon)).sum(2).transpose(1, 2)


class TestBackwardInduction:
    @pytest.mark.parametrize("seed", range(5))
    def test_it_is_the_best_of_all_time_dependent_policies(self, seed):
        env = make(num_states=2, num_actions=3, horizon=3)
        task = env.sample_tasks(1, generator(seed))
        policy, value = backward_induction(task.transition, task.reward_mean, 3)
        everything = itertools.product(range(3), repeat=3 * 2)
        best = max(evaluate_policy(task, np.reshape(actions, (3, 2))) for actions in everything)
        assert value[0, 0].item() == pytest.approx(best, abs=1e-5)
        assert evaluate_policy(task, policy[0].numpy()) == pytest.approx(best, abs=1e-5)

    def test_the_last_step_is_greedy_and_an_early_one_looks_ahead(self):
        """State 0: action 0 pays 1 and stays, action 1 pays 0 and leads to state 1, where every step pays 3."""
        transition = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]]])
        reward = torch.tensor([[[1.0, 0.0], [3.0, 3.0]]])
        policy, value = backward_induction(transition, reward, 3)
        assert policy[0, :, 0].tolist() == [1, 1, 0] and value[0].tolist() == [6.0, 9.0]

    def test_a_batch_is_solved_row_by_row(self):
        task = make().sample_tasks(7, generator(1))
        policy, value = backward_induction(task.transition, task.reward_mean, 10)
        for i in range(7):
            alone = backward_induction(task.transition[i : i + 1], task.reward_mean[i : i + 1], 10)
            assert torch.equal(alone[0][0], policy[i])
            torch.testing.assert_close(alone[1][0], value[i])


class TestValueIteration:
    def test_it_earns_what_it_expects_in_every_episode(self):
        env = make()
        task = env.sample_tasks(300, generator(1))
        _, value = backward_induction(task.transition, task.reward_mean, env.horizon)
        earned = returns(env, "value iteration", task, num_episodes=3, num_envs=20)
        for episode in range(3):
            mean, error = mean_and_error(earned[..., episode].mean(1) - value[:, 0])
            assert mean == pytest.approx(0, abs=error)

    def test_no_other_reference_is_better(self):
        env = make()
        task = env.sample_tasks(200, generator(1))
        best = returns(env, "value iteration", task, 2, 10)
        for name in set(env.references()) - {"value iteration"}:
            assert returns(env, name, task, 2, 10).mean() < best.mean() - 2

    def test_on_many_instances(self):
        """The exact optimum is 21.83 an episode (40,000 instances, standard error 0.01); random earns 10."""
        env = make()
        task = env.sample_tasks(10_000, generator(11))
        _, value = backward_induction(task.transition, task.reward_mean, env.horizon)
        mean, error = mean_and_error(value[:, 0])
        assert mean == pytest.approx(21.835, abs=error)
        mean, error = mean_and_error(returns(env, "value iteration", task, seed=12)[..., 0])
        assert mean == pytest.approx(21.835, abs=error)
        mean, error = mean_and_error(returns(env, "random", task, seed=13)[..., 0])
        assert mean == pytest.approx(10.0, abs=error)


class TestPSRL:
    def observe(self, env, memory, steps):
        """Feed transitions (s, a, r, s') to all lanes."""
        lanes = memory.time.shape
        for s, a, r, s2 in steps:
            index = [torch.full(lanes, x) for x in (s, a, s2)]
            reward = torch.full(lanes, float(r))
            step = Transition(state_at(index[0]), index[1], reward, state_at(index[2]), reward > 1e9)
            memory = PSRL(env.config, 0.0).observe(None, memory, step)
        return memory

    def test_the_memory_counts_what_was_seen(self):
        env = make(num_states=3, num_actions=2, horizon=4)
        task = env.sample_tasks(2, generator(1))
        before = PSRL(env.config, 0.0).start(task, 3, generator(2))
        steps = [(0, 1, 2.5, 2), (2, 0, -1, 2), (2, 0, 3, 1), (1, 1, 0.5, 0), (0, 1, 1, 2)]
        memory = self.observe(env, before, steps)
        counts, total = torch.zeros(3, 2, 3), torch.zeros(3, 2)
        for s, a, r, s2 in steps:
            counts[s, a, s2] += 1
            total[s, a] += r
        assert (memory.counts == counts).all() and (memory.reward_sum == total).all() and (memory.time == 1).all()
        assert (before.counts == 0).all(), "what goes in is not changed"

    def test_the_policy_is_drawn_anew_at_the_end_of_each_episode_only(self):
        env = make()
        task, seen = env.sample_tasks(20, generator(1)), []
        memory = PSRL(env.config, 0.0).start(task, 2, generator(2))
        for _ in range(21):
            seen.append(memory.policy)
            memory = self.observe(env, memory, [(0, 0, 1, 1)])
        changed = [not torch.equal(a, b) for a, b in itertools.pairwise(seen)]
        assert [t + 1 for t, x in enumerate(changed) if x] == [10, 20]

    def test_lanes_may_be_at_different_times(self):
        env = make()
        memory = PSRL(env.config, 0.0).start(env.sample_tasks(2, generator(1)), 2, generator(2))
        times = torch.tensor([[9, 3], [0, 9]])
        memory = dataclasses.replace(memory, time=times)
        after = self.observe(env, memory, [(0, 0, 1, 1)])
        assert after.time.tolist() == [[0, 4], [1, 0]]
        changed = (after.policy != memory.policy).any(-1).any(-1)
        assert changed.tolist() == [[True, False], [False, True]]

    @pytest.mark.parametrize(("noise", "prior_mean"), [(1.0, 0.0), (1.0, 1.0), (0.5, 1.0)])
    def test_the_posterior_is_the_conjugate_one(self, noise, prior_mean):
        env, draws = make(num_states=3, num_actions=2, reward_noise=noise), 40_000
        counts = torch.zeros(3, 2, 3)
        counts[0, 0] = torch.tensor([4.0, 0.0, 1.0])
        reward_sum = torch.zeros(3, 2)
        reward_sum[0, 0] = 12.0
        lanes = [x.expand(draws, *x.shape) for x in (counts, reward_sum)]
        transition, reward = PSRL(env.config, prior_mean).sample_posterior(*lanes, generator(3))
        alpha = counts + 1
        mean = alpha / alpha.sum(-1, keepdim=True)
        variance = mean * (1 - mean) / (alpha.sum(-1, keepdim=True) + 1)
        assert (transition.mean(0) - mean).abs().max() < 5 * (variance.max() / draws) ** 0.5
        torch.testing.assert_close(transition.var(0), variance, rtol=0.05, atol=0)
        precision = 1 + 5 / noise**2
        assert reward[:, 0, 0].mean().item() == pytest.approx((prior_mean + 12 / noise**2) / precision, abs=0.015)
        assert reward[:, 0, 0].var().item() == pytest.approx(1 / precision, rel=0.05)
        assert reward[:, 1, 1].mean().item() == pytest.approx(prior_mean, abs=0.025)
        assert reward[:, 1, 1].var().item() == pytest.approx(1, rel=0.05)
        together = torch.stack([reward[:, 0, 0], reward[:, 0, 1], transition[:, 0, 0, 0], transition[:, 1, 0, 0]])
        assert (together.corrcoef() - torch.eye(4)).abs().max() < 0.03

    def test_without_noise_one_reward_is_believed(self):
        env = make(num_states=2, num_actions=2, reward_noise=0.0)
        counts, reward_sum = torch.zeros(1000, 2, 2, 2), torch.zeros(1000, 2, 2)
        counts[:, 0, 1, 0], reward_sum[:, 0, 1] = 1, 4.0
        _, reward = PSRL(env.config, 0.0).sample_posterior(counts, reward_sum, generator())
        assert (reward[:, 0, 1] - 4).abs().max() < 0.01 and reward[:, 0, 0].std() > 0.9

    def test_what_was_seen_often_is_planned_with(self):
        """After many observations of one MDP, the plan is that of value iteration there."""
        env = make(num_states=3, num_actions=2, horizon=5)
        task = env.task_from_dicts(
            [
                {
                    "transition": [[[0, 1, 0], [1, 0, 0]], [[0, 0, 1], [1, 0, 0]], [[0, 0, 1], [1, 0, 0]]],
                    "reward_mean": [[0.0, 0.4], [0.0, 0.4], [3.0, 0.4]],
                }
            ]
        )
        counts, reward = (
            (10_000 * task.transition).expand(50, -1, -1, -1),
            (10_000 * task.reward_mean).expand(50, -1, -1),
        )
        drawn = PSRL(env.config, 0.0).sample_posterior(counts, reward, generator(1))
        expected, _ = backward_induction(task.transition, task.reward_mean, 5)
        assert (backward_induction(*drawn, 5)[0] == expected).all()

    def test_a_trial_is_repeatable_and_lanes_differ(self):
        env = make()
        task = env.sample_tasks(5, generator(1))
        first, again, other = (returns(env, "PSRL", task, 3, 2, seed) for seed in (1, 1, 2))
        assert torch.equal(first, again) and not torch.equal(first, other)
        memory = PSRL(env.config, 0.0).start(Task.cat([task[:1]] * 2), 2, generator(3))
        assert len(memory.policy.flatten(0, 1).flatten(1).unique(dim=0)) == 4

    def test_plans_do_not_depend_on_the_size_of_groups_in_law(self, monkeypatch):
        monkeypatch.setattr("envs.tabular.references.PLAN_CELLS", 1000)
        env = make()
        task = env.sample_tasks(400, generator(1))
        in_groups = returns(env, "PSRL", task, 3)
        monkeypatch.undo()
        mean, error = mean_and_error((in_groups - returns(env, "PSRL", task, 3, seed=5)).mean(-1))
        assert mean == pytest.approx(0, abs=error)

    @pytest.mark.slow
    def test_on_many_instances(self):
        """Duan et al. 2016, table 2, n = 10: PSRL 138.1, from 1,000 instances.

        That is the posterior with prior rewards N(0, 1). The same with the true prior earns 134.1 (10,000 instances,
        standard error 0.25): `PSRL` has to differ from it.
        """
        env = make()
        task = env.sample_tasks(3_000, generator(21))
        earned = returns(env, "PSRL", task, 10, seed=22)
        mean, error = mean_and_error(earned.sum(-1))
        assert mean == pytest.approx(138.1, abs=error)
        assert (earned.mean((0, 1)).diff() > 0).all(), "each episode is better than the one before"
        mean, error = mean_and_error(returns(env, "PSRL, true prior", task[:2000], 10, seed=23).sum(-1))
        assert mean == pytest.approx(134.1, abs=error)
