"""Bandits: the laws of tasks and rewards, the counts, and reference policies against values known from elsewhere."""

import itertools
import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import Generator

import envs
from envs.bandit import BERNOULLI_PRESETS, GAUSSIAN_PRESETS, Bandit, BanditConfig, State, Task
from envs.bandit.gittins import bayes_optimal_value, gittins_table
from envs.bandit.references import sample_gamma, truncated_normal
from metarl.rollout import reference_rollout

CPU = torch.device("cpu")


def bandit(*args, **fields) -> Bandit:
    return Bandit(BanditConfig(*args, **fields), CPU)


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


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

    @pytest.mark.parametrize("observation", ["constant", "time"])
    def test_they_do_not_tell_the_task(self, observation):
        env = bandit(3, 4, observation=observation)
        task, draws = env.sample_tasks(500, generator(1)), generator(2)
        state, obs = env.reset(task, 1, draws)
        later = env.step(task, state, env.random_actions(task, state, None, draws), draws).obs
        for x in (obs, later):
            assert len(x.unique()) == 1, "the same for all tasks, so nothing can be decoded"


class TestBadInput:
    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"num_arms": 1}, "num_arms must be a whole number of at least 2, not 1."),
            ({"num_arms": 2.5}, "num_arms must be a whole number of at least 2, not 2.5."),
            ({"horizon": 1}, "horizon must be a whole number of at least 2, not 1."),
            ({"horizon": True}, "horizon must be a whole number of at least 2, not True."),
            ({"horizon": 40_000}, "horizon must be at most 30,000 pulls, not 40,000."),
            ({"rewards": "beta"}, "rewards must be 'bernoulli' or 'gaussian', not 'beta'."),
            ({"prior": "beta"}, "prior must be 'uniform' or 'normal', not 'beta'."),
            ({"observation": "none"}, "observation must be 'constant' or 'time', not 'none'."),
            ({"prior": "normal"}, "Bernoulli rewards need prior='uniform', since a normal draw is no probability."),
        ],
    )
    def test_a_config_that_cannot_be_is_answered_in_one_sentence(self, fields, said):
        with pytest.raises(envs.InputError) as caught:
            BanditConfig(**fields)
        assert str(caught.value) == said

    @pytest.mark.parametrize("mean", [[0.5] * 4, [0.5, 0.5, 0.5, 0.5, 1.1], [-0.1] * 5, [math.nan] * 5, "x", 0.5])
    def test_a_task_that_does_not_fit_is_refused(self, mean):
        with pytest.raises(envs.InputError, match="The task field 'mean' must lie in"):
            bandit().task_from_dicts([{"mean": mean}])

    def test_splits_and_numbers_of_tasks_are_checked(self):
        with pytest.raises(envs.InputError, match="Unknown split 'odd'"):
            bandit().sample_tasks(1, generator(), "odd")
        with pytest.raises(envs.InputError, match="at least 1, not 0"):
            bandit().sample_tasks(0, generator())

    @pytest.mark.parametrize(("arms", "pulls"), [(0, 3), (2, 0), (2, 17)])
    def test_sizes_beyond_exact_values_are_refused(self, arms, pulls, sentence):
        with pytest.raises(envs.InputError) as caught:
            bayes_optimal_value(arms, pulls)
        sentence(caught)


def test_presets_are_those_of_the_table():
    assert next(iter(BERNOULLI_PRESETS)) == "k5-n10" and len(BERNOULLI_PRESETS) == 9
    assert {(c.num_arms, c.horizon) for c in BERNOULLI_PRESETS.values()} == {
        (k, n) for k in (5, 10, 50) for n in (10, 100, 500)
    }
    assert all(c.rewards == "bernoulli" for c in BERNOULLI_PRESETS.values())
    assert all(c.rewards == "gaussian" for c in GAUSSIAN_PRESETS.values())
    assert {c.prior for c in GAUSSIAN_PRESETS.values()} == {"uniform", "normal"}


def index(pulls: int, won: int, remaining: int, horizon: int = 30) -> float:
    return gittins_table(horizon, CPU)(*(torch.tensor(x) for x in (pulls, won, remaining))).item()


class TestGittinsIndex:
    def test_with_one_pull_to_go_it_is_the_posterior_mean(self):
        for pulls in range(30):
            for won in range(pulls + 1):
                assert index(pulls, won, 1) == pytest.approx((won + 1) / (pulls + 2), abs=2e-5)

    def test_small_cases_by_hand(self):
        # Two pulls to go at (0, 0): 1/2 - λ + 1/2 (2/3 - λ) = 0, since after a loss one goes to the known arm.
        assert index(0, 0, 2) == pytest.approx(5 / 9, abs=2e-5)
        # At (1 won, 0 lost), where p = 2/3: 2/3 - λ + 2/3 (3/4 - λ) = 0.
        assert index(1, 1, 2) == pytest.approx(7 / 10, abs=2e-5)
        # Three to go at (0, 0): 1/2 - λ + 1/2 (2/3 - λ + 2/3 (3/4 - λ)) = 0, where λ > 1/2 ends it after a loss.
        assert index(0, 0, 3) == pytest.approx((13 / 12) / (11 / 6), abs=2e-5)

    def test_it_grows_with_successes_and_with_the_pulls_to_go(self):
        for pulls in (0, 1, 5, 12):
            for won in range(pulls + 1):
                longer = [index(pulls, won, m) for m in range(1, 30 - pulls + 1)]
                assert all(b >= a for a, b in itertools.pairwise(longer))
                assert longer[-1] > longer[0] > 0 and longer[-1] < 1
            for m in (1, 2, 10):
                won = [index(pulls, s, m) for s in range(pulls + 1)]
                assert all(b > a for a, b in itertools.pairwise(won))

    def test_it_does_not_depend_on_the_horizon_it_was_tabulated_for(self):
        for state in ((0, 0, 8), (3, 2, 5), (7, 1, 1)):
            assert index(*state, horizon=8) == pytest.approx(index(*state, horizon=30), abs=2e-5)

    def test_the_grid_of_rates_is_fine_enough(self):
        coarse, fine = (gittins_table(40, CPU, rates).levels.float() / 65535 for rates in (257, 4097))
        error = (coarse - fine).abs()
        assert error.max() < 1e-3 and error.square().mean().sqrt() < 2e-4


@cache
def greedy_value(arms: tuple[tuple[int, int], ...], remaining: int, horizon: int) -> float:
    """Exact value of the index policy from a state of (won, lost) for each arm."""
    if remaining == 0:
        return 0.0
    indices = [index(won + lost, won, remaining, horizon) for won, lost in arms]
    k = indices.index(max(indices))
    won, lost = arms[k]
    p = (won + 1) / (won + lost + 2)
    win, loss = (tuple(sorted([*arms[:k], after, *arms[k + 1 :]])) for after in ((won + 1, lost), (won, lost + 1)))
    win_value, loss_value = (greedy_value(state, remaining - 1, horizon) for state in (win, loss))
    return p * (1 + win_value) + (1 - p) * loss_value


class TestBayesOptimalValue:
    def test_small_cases_by_hand(self):
        assert bayes_optimal_value(1, 7) == pytest.approx(3.5)
        assert bayes_optimal_value(3, 1) == pytest.approx(0.5)
        # Two pulls, two arms: after a win stay with 2/3, after a loss change to 1/2.
        assert bayes_optimal_value(2, 2) == pytest.approx(0.5 + 0.5 * 2 / 3 + 0.5 * 0.5)

    def test_the_known_value(self):
        assert bayes_optimal_value(5, 10) == pytest.approx(6.66, abs=0.001)

    @pytest.mark.parametrize(("arms", "pulls"), [(2, 2), (2, 10), (3, 8), (5, 10)])
    def test_the_index_policy_comes_close_and_never_above(self, arms, pulls):
        gittins, best = greedy_value(((0, 0),) * arms, pulls, pulls), bayes_optimal_value(arms, pulls)
        assert best - 0.01 < gittins <= best + 1e-9


def returns(name: str, env: Bandit, lanes: int = 10_000, seed: int = 5) -> tuple[float, float]:
    """Mean return of a reference over `lanes` tasks, and its standard error."""
    task = env.sample_tasks(lanes, generator(seed), "test")
    total = reference_rollout(env, env.references()[name], task, 1, generator(seed + 1)).returns.double()
    return total.mean().item(), total.std().item() / math.sqrt(lanes)


class TestReferences:
    """On fresh tasks, within four standard errors (and the rounding of the value that is known)."""

    @pytest.mark.parametrize(
        ("arms", "pulls", "name", "known", "rounding"),
        [
            (5, 10, "random", 5.0, 0),
            (5, 10, "Gittins", 6.66, 0.01),
            (5, 10, "clairvoyant", 10 * 5 / 6, 0),
            (5, 100, "random", 50.0, 0),
            (5, 100, "Thompson sampling", 75.05, 0.05),
            (5, 100, "Gittins", 78.7, 0.05),
            (5, 100, "clairvoyant", 100 * 5 / 6, 0),
            (5, 100, "UCB with prior", 78.0, 0.6),  # published, for a width that is not
            (10, 100, "Thompson sampling", 77.1, 0.05),
            (10, 100, "Gittins", 83.75, 0.05),
        ],
    )
    def test_bernoulli_returns_are_those_known(self, arms, pulls, name, known, rounding):
        mean, error = returns(name, bandit(arms, pulls))
        assert abs(mean - known) < 4 * error + rounding

    @pytest.mark.slow
    def test_gittins_is_feasible_and_best_over_500_pulls(self):
        gittins, thompson = (returns(name, bandit(5, 500), 4000) for name in ("Gittins", "Thompson sampling"))
        assert abs(thompson[0] - 402.0) < 4 * thompson[1] + 4, "as published, on 1,000 instances"
        assert thompson[0] < gittins[0] < 500 * 5 / 6
        assert gittins_table(500, CPU).levels.nbytes < 50e6

    def test_gittins_rollouts_agree_with_its_exact_value(self):
        mean, error = returns("Gittins", bandit(2, 10), 40_000)
        assert abs(mean - greedy_value(((0, 0),) * 2, 10, 10)) < 4 * error

    def test_gaussian_returns_are_ordered_and_the_ceiling_is_exact(self):
        env = Bandit(GAUSSIAN_PRESETS["k5-n100"], CPU)
        values = {name: returns(name, env, 4000) for name in env.references()}
        assert abs(values["random"][0]) < 4 * values["random"][1]
        ceiling = 100 * 1.16296  # the expected largest of five standard normal draws
        assert abs(values["clairvoyant"][0] - ceiling) < 4 * values["clairvoyant"][1]
        for name in ("epsilon-greedy", "UCB1", "UCB with prior", "Thompson sampling"):
            assert 60 < values[name][0] < ceiling - 5
        assert "Gittins" not in values

    def test_ucb1_pulls_each_arm_once_and_then_the_highest_index(self):
        env = bandit(3, 20)
        act = env.references()["UCB1"].act
        pulls = torch.tensor([[[0, 0, 0], [1, 0, 0], [1, 1, 0], [2, 5, 3], [5, 5, 10]]], dtype=torch.int16)
        won = torch.tensor([[[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 4, 2], [2, 3, 9]]], dtype=torch.int16)
        got = act(None, State(pulls, won), None, generator())[0]
        expected = [0, 1, 2]
        for n, s in zip(pulls[0, 3:].numpy(), won[0, 3:].numpy(), strict=True):
            expected.append(int(np.argmax(s / n + np.sqrt(2 * np.log(n.sum()) / n))))
        assert got.tolist() == expected

    def test_epsilon_greedy_explores_a_tenth_of_the_time(self):
        env = bandit(5, 20)
        counts = torch.tensor([2, 2, 2, 2, 2], dtype=torch.int16).expand(1, 20_000, 5)
        won = torch.tensor([0, 1, 2, 0, 1], dtype=torch.int16).expand(1, 20_000, 5)
        chosen = env.references()["epsilon-greedy"].act(None, State(counts, won), None, generator(1))
        share = torch.bincount(chosen.flatten(), minlength=5) / 20_000
        assert share.numpy() == pytest.approx(np.array([0.02, 0.02, 0.92, 0.02, 0.02]), abs=0.008)

    @pytest.mark.parametrize("config", [BERNOULLI_PRESETS["k5-n10"], *list(GAUSSIAN_PRESETS.values())[::5]])
    def test_thompson_sampling_pulls_an_arm_as_often_as_it_is_likely_to_be_best(self, config):
        """Against brute force: prior draws weighted by the likelihood of what was seen."""
        env = Bandit(config, CPU)
        pulls = torch.tensor([3, 1, 0, 4, 2], dtype=torch.int16)
        rewards = torch.tensor([2, 1, 0, 1, 1]).to(env.sum_dtype)
        lanes = (1, 40_000, 5)
        state = State(pulls.expand(lanes), rewards.expand(lanes))
        chosen = env.references()["Thompson sampling"].act(None, state, None, generator(1))
        share = torch.bincount(chosen.flatten(), minlength=5) / 40_000
        means = env.sample_tasks(400_000, generator(2)).mean.double()
        if config.rewards == "bernoulli":
            log_likelihood = torch.xlogy(rewards, means) + torch.xlogy(pulls - rewards, 1 - means)
        else:  # up to a constant of the data
            log_likelihood = means * rewards - pulls * means.square() / 2
        weight = log_likelihood.sum(-1).exp()
        expected = torch.zeros(5, dtype=torch.float64).index_add(0, means.argmax(-1), weight) / weight.sum()
        assert share.numpy() == pytest.approx(expected.numpy(), abs=0.015)


@pytest.mark.parametrize("shape", [1.0, 1.5, 4.0, 120.0])
def test_gamma_draws_have_the_moments_of_the_law(shape):
    draws = sample_gamma(torch.full((200, 500), shape), generator(1)).double()
    assert draws.shape == (200, 500) and (draws > 0).all()
    assert draws.mean().item() == pytest.approx(shape, abs=5 * math.sqrt(shape / 1e5))
    assert draws.var().item() == pytest.approx(shape, rel=0.05)
    expected = torch.special.gammainc(torch.tensor(shape).double(), torch.tensor(0.8 * shape).double()).item()
    assert (draws < 0.8 * shape).double().mean().item() == pytest.approx(expected, abs=0.008)


def test_truncated_normal_draws_stay_inside_also_far_from_it():
    uniform = torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1]
    for total, pulls in ((0.0, 0), (-8.0, 1), (9.0, 1), (2.0, 4), (120.0, 100), (-20.0, 100)):
        draws = truncated_normal(*(torch.tensor(x).double().expand(1000) for x in (total, pulls)), uniform)
        assert draws.isfinite().all() and (draws >= 0).all() and (draws <= 1).all()
        assert len(draws.unique()) > 900, "no pile at an end"


class TestRender:
    env = bandit(5, 100)
    task = Task(torch.tensor([0.2, 0.9, 0.5, 0.7, 0.1]))

    def episode(self, *arms: int, won: int = 1) -> State:
        """The states of an episode in which every pull pays `won`."""
        pulls = torch.zeros(len(arms) + 1, 5, dtype=torch.int16)
        for t, arm in enumerate(arms):
            pulls[t + 1 :, arm] += 1
        return State(pulls, pulls * won)

    def image(self, episode: State | None = None, task: Task = task, **options) -> np.ndarray:
        return self.env.render(task, self.episode(0, 1) if episode is None else episode, **options)

    def test_shape_and_determinism(self):
        assert self.image().shape == (480, 480, 3) and self.image().dtype == np.uint8
        assert self.image(size=96).shape == (96, 96, 3)
        assert np.array_equal(self.image(), self.image())

    def test_what_changes_shows_in_the_column_of_its_arm(self):
        def columns(a, b, rows=slice(70, 450)):
            return np.nonzero((a != b)[rows].any((0, 2)))[0]

        moved = columns(self.image(), self.image(task=Task(torch.tensor([0.2, 0.9, 0.5, 0.7, 0.6]))))
        assert moved.size and moved.min() > 380, "the true mean of the last arm"
        paid = columns(self.image(self.episode(0, 1, 4)), self.image(self.episode(0, 1, 4, won=0)), slice(84, 340))
        assert paid.size and paid.min() < 130, "the means seen"
        pulled = columns(self.image(self.episode(0, 0, 1)), self.image(self.episode(0, 0, 0, 1)))
        assert pulled.size and pulled.max() < 130, "one more pull of the first arm"

    def test_the_last_pull_and_earlier_episodes_show(self):
        images = [
            self.image(self.episode(0, 1)),
            self.image(self.episode(1, 0)),
            self.image(self.episode(0, 1), earlier=[self.episode(2, 2, 2)]),
        ]
        for i in range(3):
            assert (images[i] != images[i - 1]).any()

    @pytest.mark.parametrize("config", [*BERNOULLI_PRESETS.values(), *GAUSSIAN_PRESETS.values()])
    def test_every_preset_draws_a_whole_episode(self, config):
        env = Bandit(config, CPU)
        task, draws = env.sample_tasks(1, generator(1)), generator(2)
        state, _ = env.reset(task, 1, draws)
        states = [state]
        for _ in range(10):
            states.append(env.step(task, states[-1], env.random_actions(task, state, None, draws), draws).state)
        assert env.render(task[0], State.stack(states)[:, 0, 0], size=320).std() > 0
