"""Random tabular MDPs: their law, and their dynamics by frequency."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from tabulars import generator, make, state_at

import envs
from envs.tabular import Task


class TestLaw:
    @pytest.mark.parametrize(("split", "concentration"), [("train", 1.0), ("test", 1.0), ("ood", 0.1)])
    def test_transition_rows_are_dirichlet(self, split, concentration):
        s = 10
        p = make().sample_tasks(2000, generator(1), split).transition
        assert p.dtype == torch.float32 and p.shape == (2000, s, 5, s)
        assert p.min() >= 0 and (p.sum(-1) - 1).abs().max() < 1e-5
        variance = (1 / s) * (1 - 1 / s) / (s * concentration + 1)  # of one entry
        assert p.mean((0, 1, 2)).numpy() == pytest.approx(np.full(s, 1 / s), abs=5 * (variance / 100_000) ** 0.5)
        assert p.flatten(0, 2).var(0).numpy() == pytest.approx(np.full(s, variance), rel=0.05)
        covariance = np.cov(p.flatten(0, 2).numpy().T)[~np.eye(s, dtype=bool)]
        assert covariance == pytest.approx(np.full(s * (s - 1), -variance / (s - 1)), abs=0.03 * variance)
        if concentration == 1:  # an entry is Beta(1, 9): P(p < x) = 1 - (1 - x)^9
            for x in (0.01, 0.05, 0.2, 0.5):
                assert (p < x).float().mean().item() == pytest.approx(1 - (1 - x) ** 9, abs=0.003)

    def test_mean_rewards_are_normal(self):
        r = make().sample_tasks(4000, generator(2)).reward_mean
        assert r.shape == (4000, 10, 5)
        assert r.mean().item() == pytest.approx(1, abs=0.01) and r.std().item() == pytest.approx(1, abs=0.01)
        assert (r > 2).float().mean().item() == pytest.approx(0.1587, abs=0.003)

    def test_tasks_and_their_parts_are_independent(self):
        task = make().sample_tasks(5000, generator(3))
        columns = torch.cat([task.transition[:, :2, :2].flatten(1), task.reward_mean[:, :2].flatten(1)], 1)
        shifted = torch.cat([columns[1:, :], columns[:-1, :]], 1)  # each task beside its neighbour
        count = columns.shape[1]
        assert shifted.T.corrcoef()[:count, count:].abs().max() < 0.08
        rewards = columns[:, -10:].T.corrcoef() - torch.eye(10)
        assert rewards.abs().max() < 0.08

    def test_ood_actions_lead_to_fewer_states(self):
        """The entropy of a Dirichlet(c) row of S cells is digamma(S c + 1) - digamma(c + 1) on average."""
        env = make()
        for split, expected in (("train", 1.9290), ("test", 1.9290), ("ood", 0.8466)):
            p = env.sample_tasks(500, generator(4), split).transition.double()
            assert -torch.special.xlogy(p, p).sum(-1).mean().item() == pytest.approx(expected, abs=0.02)
        assert "Dirichlet(0.1)" in env.splits["ood"] and "Dirichlet(1)" in env.splits["train"]


class TestDynamics:
    def test_next_states_follow_the_transition_row_of_each_task_state_and_action(self):
        env, lanes = make(num_states=4, num_actions=3), 20_000
        task = env.sample_tasks(2, generator(1))
        for s, a in itertools.product(range(4), range(3)):
            index = torch.full((2, lanes), s)
            result = env.step(task, state_at(index), torch.full((2, lanes), a), generator(2 + 3 * s + a))
            for n in range(2):
                p = task.transition[n, s, a].numpy()
                frequency = np.bincount(result.state.index[n].numpy(), minlength=4) / lanes
                assert frequency == pytest.approx(p, abs=4.5 * (0.25 / lanes) ** 0.5)

    def test_impossible_transitions_never_happen_and_certain_ones_always(self):
        env = make(num_states=3, num_actions=2)
        to = torch.tensor([[1, 2], [0, 0], [2, 1]])
        task = Task(torch.eye(3)[to][None], torch.zeros(1, 3, 2))
        index, action = torch.randint(3, (1, 50_000), generator=generator()), torch.randint(2, (1, 50_000))
        result = env.step(task, state_at(index), action, generator(1))
        assert torch.equal(result.state.index, to[index, action])

    def test_a_row_that_sums_to_less_than_one_by_rounding_stays_in_the_states(self):
        env = make(num_states=3, num_actions=2)
        task = Task(torch.full((1, 3, 2, 3), 0.33331), torch.zeros(1, 3, 2))
        result = env.step(
            task, state_at(torch.zeros(1, 200_000, dtype=torch.int64)), torch.ones(1, 200_000).long(), generator()
        )
        assert result.state.index.max() == 2

    @pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
    def test_rewards_are_their_mean_with_normal_noise(self, noise):
        env, lanes = make(reward_noise=noise), 40_000
        task = env.sample_tasks(1, generator(1))
        action = torch.arange(5).repeat(lanes // 5)[None]
        state, _ = env.reset(task, lanes, generator())
        result = env.step(task, state, action, generator(2))
        error = result.reward - task.reward_mean[0, 0, action]
        assert error.mean().item() == pytest.approx(0, abs=4.5 * noise / lanes**0.5 + 1e-6)
        assert error.std().item() == pytest.approx(noise, rel=0.02, abs=1e-6)
        if noise:
            assert (error.abs() > 2 * noise).float().mean().item() == pytest.approx(0.0455, abs=0.005)
            by_next = torch.stack([error[result.state.index == s].mean() for s in range(10)])
            assert by_next.abs().max() < 0.2 * noise, "noise does not depend on the transition"
        assert torch.equal(result.state.total, result.reward) and torch.equal(result.state.action, action)

    def test_lanes_have_noise_of_their_own(self):
        env = make()
        task = env.sample_tasks(1, generator(1))
        task = Task.cat([task, task])
        state, _ = env.reset(task, 5000, generator())
        result = env.step(task, state, torch.zeros(2, 5000).long(), generator(2))
        for x in (result.reward, result.state.index.float()):
            columns = torch.stack([x[0, :-1], x[0, 1:], x[1, :-1], x[1, 1:]])
            assert (columns.corrcoef() - torch.eye(4)).abs().max() < 0.07

    def test_a_row_of_a_batch_steps_exactly_as_it_would_alone(self, monkeypatch):
        """Given the same random numbers: those of lane 1 of task i, out of the batch's."""
        env = make("large")
        task = env.sample_tasks(6, generator(1))
        index = torch.randint(25, (6, 3), generator=generator(2))
        action = torch.randint(5, (6, 3), generator=generator(3))
        draws = torch.rand(18, 1, generator=generator(4)), torch.randn(6, 3, generator=generator(5))

        def step(rows, lanes):
            uniform = draws[0].view(6, 3)[rows, lanes].reshape(-1, 1)
            monkeypatch.setattr(torch, "rand", lambda *shape, **options: uniform)
            monkeypatch.setattr(torch, "randn", lambda *shape, **options: draws[1][rows, lanes])
            return env.step(task[rows], state_at(index[rows, lanes]), action[rows, lanes], generator())

        everything = slice(None)
        batch = step(everything, everything)
        for i in range(6):
            alone = step(slice(i, i + 1), slice(1, 2))
            for name in ("obs", "reward", "terminated"):
                assert torch.equal(getattr(alone, name)[0, 0], getattr(batch, name)[i, 1])
            assert torch.equal(alone.state.index[0, 0], batch.state.index[i, 1])

    def test_an_episode_starts_in_state_0_and_is_never_over(self):
        env = make()
        task, draws = env.sample_tasks(50, generator(1)), generator(2)
        state, obs = env.reset(task, 3, draws)
        assert (state.index == 0).all() and (state.total == 0).all() and (state.action == -1).all()
        total = torch.zeros(50, 3)
        for _ in range(env.horizon):
            assert torch.equal(obs.argmax(-1), state.index) and (obs.sum(-1) == 1).all() and (obs.amax(-1) == 1).all()
            result = env.step(task, state, env.random_actions(task, state, None, draws), draws)
            state, obs, total = result.state, result.obs, total + result.reward
            assert not result.terminated.any()
        assert torch.equal(state.total, total)

    def test_the_observation_tells_the_state_and_nothing_else(self):
        env = make()
        tasks = [env.sample_tasks(100, generator(seed)) for seed in (1, 2)]
        firsts = [env.reset(task, 2, generator())[1] for task in tasks]
        assert torch.equal(*firsts) and len(firsts[0].flatten(0, 1).unique(dim=0)) == 1, "equal for all tasks"
        same_rows = Task(tasks[0].transition, tasks[1].reward_mean)
        state, _ = env.reset(tasks[0], 2, generator())
        action = torch.zeros(100, 2).long()
        a, b = (env.step(task, state, action, generator(3)) for task in (tasks[0], same_rows))
        assert torch.equal(a.obs, b.obs) and not torch.equal(a.reward, b.reward)


class TestGivenTasks:
    env = make(num_states=2, num_actions=2)
    good = {"transition": [[[0.5, 0.5], [1, 0]], [[0.25, 0.75], [0.3333, 0.6667]]], "reward_mean": [[0, 1], [2, -3]]}  # noqa: RUF012

    def test_a_task_by_hand(self):
        task = self.env.task_from_dicts([self.good])
        assert task.transition.tolist()[0][0] == [[0.5, 0.5], [1.0, 0.0]] and task.reward_mean.shape == (1, 2, 2)

    @pytest.mark.parametrize("row", [[0.5, 0.4], [0.0, 0.0], [1.0, 1.0], [0.5, 0.501]])
    def test_rows_must_sum_to_one(self, row, sentence):
        wrong = [[[0.5, 0.5], [1, 0]], [row, [0.3, 0.7]]]
        with pytest.raises(envs.InputError) as caught:
            self.env.task_from_dicts([self.good, {**self.good, "transition": wrong}])
        expected = f"Each row of 'transition' must sum to 1, and that of state 1, action 0 sums to {sum(row):g}."
        assert sentence(caught) == expected

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("transition", [[[1.5, -0.5], [1, 0]], [[1, 0], [1, 0]]]),
            ("transition", [[[float("nan"), 0.5], [1, 0]], [[1, 0], [1, 0]]]),
            ("transition", [[0.5, 0.5], [1, 0]]),
            ("reward_mean", [[0, 1], [2, float("inf")]]),
            ("reward_mean", [0, 1]),
            ("reward_mean", "high"),
        ],
    )
    def test_values_outside_the_schema_are_refused(self, name, value, sentence):
        with pytest.raises(envs.InputError) as caught:
            self.env.task_from_dicts([{**self.good, name: value}])
        assert sentence(caught).startswith(f"The task field {name!r} must lie in Box(")
