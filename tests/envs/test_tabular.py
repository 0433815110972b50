"""Random tabular MDPs: their law, their dynamics by frequency, and references against exact values."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import Generator

import envs
from envs.core import Transition
from envs.tabular import PRESETS, State, Tabular, TabularConfig, Task
from envs.tabular.dirichlet import sample_dirichlet
from envs.tabular.references import PSRL, backward_induction
from metarl.rollout import reference_rollout

CPU = torch.device("cpu")


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def make(preset: str = "rl2", **fields) -> Tabular:
    config = PRESETS[preset]
    return Tabular(TabularConfig(**{**vars(config), **fields}), CPU)


def state_at(index: torch.Tensor) -> State:
    return State(index, torch.full_like(index, -1), torch.zeros(index.shape))


def mean_and_error(x: torch.Tensor) -> tuple[float, float]:
    """Mean over instances, and four standard errors of it."""
    x = x.double().flatten()
    return x.mean().item(), 4 * x.std().item() / len(x) ** 0.5


# --- The law of the tasks ----------------------------------------------------------------------------------------


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

    @pytest.mark.parametrize("shape", [0.05, 0.3, 1.0, 2.5, 40.0])
    def test_the_dirichlet_sampler_for_any_shape(self, shape):
        """Two cells: a Beta draw, compared with SciPy's distribution."""
        from scipy.stats import beta, kstest

        cells = torch.tensor([shape, 1.7]).expand(20_000, 2)
        draws = sample_dirichlet(cells, generator(5))[:, 0].double().numpy()
        assert kstest(draws, beta(shape, 1.7).cdf).statistic < 0.014  # 95 % of right samplers stay below 0.0096

    def test_very_small_shapes_do_not_underflow(self):
        p = sample_dirichlet(torch.full((10_000, 4), 1e-3), generator(6))
        assert p.isfinite().all() and (p.sum(-1) - 1).abs().max() < 1e-5 and p.amax(-1).mean() > 0.98


# --- Dynamics ----------------------------------------------------------------------------------------------------


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


# --- Input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_states": 1}, "num_states must be at least 2, not 1."),
        ({"num_actions": 0}, "num_actions must be at least 2, not 0."),
        ({"horizon": 0}, "horizon must be at least 1, not 0."),
        ({"concentration": 0.0}, "concentration must be a positive number, not 0.0."),
        ({"concentration": float("nan")}, "concentration must be a positive number, not nan."),
        ({"reward_noise": -1.0}, "reward_noise must be a number of at least 0, not -1.0."),
        ({"reward_noise": float("inf")}, "reward_noise must be a number of at least 0, not inf."),
    ],
)
def test_impossible_parameters_are_answered_in_one_sentence(fields, said):
    with pytest.raises(envs.InputError) as caught:
        TabularConfig(**fields)
    assert str(caught.value) == said


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


# --- References --------------------------------------------------------------------------------------------------


def evaluate_policy(task: Task, policy: np.ndarray) -> float:
    """Expected return from state 0 of a time-dependent policy [T, S] on the one MDP of `task`."""
    p, r = task.transition[0].double().numpy(), task.reward_mean[0].double().numpy()
    occupancy, value, states = np.eye(len(p))[0], 0.0, np.arange(len(p))
    for actions in policy:
        value += occupancy @ r[states, actions]
        occupancy = occupancy @ p[states, actions]
    return float(value)


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


def returns(
    env: Tabular, name: str, task: Task, num_episodes: int = 1, num_envs: int = 1, seed: int = 0
) -> torch.Tensor:
    """[N, E, num_episodes]."""
    rewards = reference_rollout(env, env.references()[name], task, num_envs, generator(seed), num_episodes).reward
    return rewards.unflatten(1, (num_episodes, env.horizon)).sum(2).transpose(1, 2)


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
            [{"transition": [[[0, 1, 0], [1, 0, 0]], [[0, 0, 1], [1, 0, 0]], [[0, 0, 1], [1, 0, 0]]],
              "reward_mean": [[0.0, 0.4], [0.0, 0.4], [3.0, 0.4]]}]
        )  # fmt: skip
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
        task = env.sample_tasks(10_000, generator(21))
        earned = returns(env, "PSRL", task, 10, seed=22)
        mean, error = mean_and_error(earned.sum(-1))
        assert mean == pytest.approx(138.1, abs=error)
        assert (earned.mean((0, 1)).diff() > 0).all(), "each episode is better than the one before"
        mean, error = mean_and_error(returns(env, "PSRL, true prior", task[:4000], 10, seed=23).sum(-1))
        assert mean == pytest.approx(134.1, abs=error)


# --- Render ------------------------------------------------------------------------------------------------------


class TestRender:
    env = make()
    task = env.sample_tasks(1, generator(1))[0]
    path = State(torch.tensor([0, 3, 3, 7]), torch.tensor([-1, 2, 0, 4]), torch.tensor([0.0, 1.5, 1.0, 3.0]))

    def image(self, path=path, task=task, **options) -> np.ndarray:
        return self.env.render(task, path, **options)

    def test_it_shows_the_path_the_rewards_and_earlier_episodes(self):
        other = State(self.path.index, self.path.action, -self.path.total)
        images = [self.image(), self.image(self.path[:3]), self.image(other), self.image(earlier=[self.path])]
        for a, b in itertools.combinations(images, 2):
            assert (a != b).any()

    def test_it_depends_on_its_arguments_alone(self):
        assert np.array_equal(self.image(), self.image())

    def test_mean_rewards_are_drawn_in_their_tile(self):
        reward = self.task.reward_mean.clone()
        reward[9] = reward[9].flip(-1)
        changed = (self.image() != self.image(task=Task(self.task.transition, reward))).any(-1)
        rows, columns = np.nonzero(changed)
        assert rows.size and rows.min() > 340 and columns.min() > 120 and columns.max() < 240, (
            "third row, second column"
        )

    @pytest.mark.parametrize(("num_states", "num_actions", "size"), [(2, 2, 96), (5, 9, 320), (100, 4, 480)])
    def test_any_number_of_states(self, num_states, num_actions, size):
        env = make(num_states=num_states, num_actions=num_actions)
        task = env.sample_tasks(1, generator(1))
        state, _ = env.reset(task, 1, generator())
        image = env.render(task[0], type(state).stack([state])[:, 0, 0], size=size)
        assert image.shape == (size, size, 3) and image.dtype == np.uint8
