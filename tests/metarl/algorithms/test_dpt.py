"""DPT: its data against the family's rules, its loss by hand, what it refuses, and that it learns."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Generator

import envs
from metarl.algorithms.base import Setup
from metarl.algorithms.dpt import DPTConfig, dataset, mixture
from metarl.policies.in_context import InContextConfig
from metarl.policies.rl2 import RL2Config

SMALL = InContextConfig(hidden_size=16, num_layers=2)


def make(env, policy=SMALL, num_iterations=30, seed=0, **fields):
    return DPTConfig(**fields).make(Setup(env, policy, Generator().manual_seed(seed), num_iterations))


class TestOracle:
    """Labels against brute force: no other action earns more in the end."""

    def test_dark_room_steps_lead_towards_the_goal(self):
        env, generator = envs.make("dark-room"), Generator().manual_seed(0)
        task = env.sample_tasks(20, generator)
        data = dataset(env, task, DPTConfig(num_queries=50), 10, generator)
        place = ((data.query + 1) * 4.5).round().long()
        move = torch.tensor([[0, 0], [-1, 0], [0, 1], [1, 0], [0, -1]])[data.optimal]
        before, after = ((task.goal[:, None] - x).abs().sum(-1) for x in (place, place + move))
        assert torch.equal(after, (before - 1).clamp_min(0))

    def test_key_comes_before_the_door(self):
        env, generator = envs.make("key-to-door", "see-progress"), Generator().manual_seed(0)
        task = env.sample_tasks(20, generator)
        data = dataset(env, task, DPTConfig(num_queries=50), 10, generator)
        place, found = ((data.query[..., :2] + 1) * 4).round().long(), data.query[..., 2:].sum(-1)
        move = torch.tensor([[0, 0], [-1, 0], [0, 1], [1, 0], [0, -1]])[data.optimal]
        wanted = torch.where((found == 0)[..., None], task.key[:, None], task.door[:, None])
        before, after = ((wanted - x).abs().sum(-1) for x in (place, place + move))
        assert torch.equal(after, (before - 1).clamp_min(0))

    def test_tabular_actions_are_those_of_value_iteration_with_all_steps_ahead(self):
        env, generator = envs.make("tabular-mdp", num_states=4, num_actions=3, horizon=3), Generator().manual_seed(0)
        task = env.sample_tasks(6, generator)
        data = dataset(env, task, DPTConfig(num_queries=9), 5, generator)
        for n in range(6):
            value = [0.0] * 4
            for _ in range(3):
                q = [
                    [
                        float(task.reward_mean[n, s, a])
                        + sum(float(p) * v for p, v in zip(task.transition[n, s, a], value, strict=True))
                        for a in range(3)
                    ]
                    for s in range(4)
                ]
                value = [max(row) for row in q]
            best = torch.tensor([max(range(3), key=row.__getitem__) for row in q])
            assert torch.equal(data.optimal[n], best[data.query[n].argmax(-1)])

    def test_bandits_and_point(self):
        generator = Generator().manual_seed(0)
        env = envs.make("gaussian-bandit", "lee2023")
        task = env.sample_tasks(9, generator)
        data = dataset(env, task, DPTConfig(), 5, generator)
        assert (data.optimal == task.mean.argmax(-1, keepdim=True)).all()
        env = envs.make("contextual-bandit")
        task = env.sample_tasks(9, generator)
        data = dataset(env, task, DPTConfig(), 5, generator)
        assert torch.equal(data.optimal, task.best.gather(1, data.query.argmax(-1)))
        env = envs.make("point")
        task = env.sample_tasks(9, generator)
        data = dataset(env, task, DPTConfig(), 5, generator)
        state = type(env.reset(task, 32, generator)[0])(data.query)
        near = (task.goal[:, None] - data.query).abs().amax(-1) < 0.1
        after = env.step(task, state, data.optimal, generator).state.position
        assert torch.allclose(after[near], task.goal[:, None].expand_as(after)[near], atol=1e-6)


class TestData:
    def test_transitions_are_steps_of_the_task(self):
        env, generator = envs.make("dark-room"), Generator().manual_seed(0)
        task = env.sample_tasks(3, generator)
        data = dataset(env, task, DPTConfig(num_queries=4), 400, generator)
        place, after = (((x + 1) * 4.5).round().long() for x in (data.obs, data.next_obs))
        move = torch.tensor([[0, 0], [-1, 0], [0, 1], [1, 0], [0, -1]])[data.action]
        assert torch.equal(after, (place + move).clamp(0, 9))
        assert torch.equal(data.reward, (after == task.goal[:, None]).all(-1).float())
        assert data.known.float().mean().item() == pytest.approx(0.99, abs=0.01)

    def test_queries_see_datasets_of_all_sizes(self):
        env, generator = envs.make("dark-room"), Generator().manual_seed(0)
        size = dataset(env, env.sample_tasks(300, generator), DPTConfig(num_queries=4), 7, generator).size
        share = torch.bincount(size.flatten(), minlength=8) / size.numel()
        assert share.tolist() == pytest.approx([1 / 8] * 8, abs=0.03)

    def test_an_end_shows_no_next_observation(self):
        env, generator = envs.make("gridworld", "four-rooms"), Generator().manual_seed(0)
        data = dataset(env, env.sample_tasks(20, generator), DPTConfig(), 100, generator)
        assert (data.reward > 0).any() and not data.known[data.reward > 0].any()

    def test_the_mixture_has_the_published_means(self):
        env, generator = envs.make("gaussian-bandit", "lee2023"), Generator().manual_seed(0)
        action = mixture(env, 4000, 200, generator)
        share = torch.stack([(action == k).float().mean(1) for k in range(5)], -1)
        assert share.mean(0).tolist() == pytest.approx([0.2] * 5, abs=0.02)
        # a single arm alone with probability 1/11; by hand E max >= E c = 1/2
        assert (share.amax(1) == 1).float().mean().item() == pytest.approx(1 / 11, abs=0.02)
        assert share.amax(1).mean() > 0.6


class TestLearning:
    def test_the_loss_is_the_cross_entropy_of_the_optimal_action(self):
        env, generator = envs.make("dark-room"), Generator().manual_seed(0)
        algorithm = make(env)
        data = dataset(env, env.sample_tasks(4, generator), algorithm.config, 20, generator)
        loss, error, _ = algorithm.loss(data)
        logits = algorithm.network.head(algorithm.network.predict(data).log_probs, algorithm.network.free).log_probs
        by_hand = torch.nn.functional.cross_entropy(logits.flatten(0, 1), data.optimal.flatten(), reduction="none")
        torch.testing.assert_close(loss.flatten(), by_hand)
        assert torch.equal(error, (logits.argmax(-1) != data.optimal).float())

    def test_it_learns_to_search_where_it_was_not_and_to_stay_where_it_was_paid(self):
        env = envs.make("dark-room", width=3, height=3, horizon=8, held_out_every=0)
        algorithm, generator = (
            make(env, num_iterations=20, num_episodes=3, context_size=16, lr=1e-2, minibatches=16),
            Generator().manual_seed(1),
        )
        losses = []
        for _ in range(20):
            trajectories = algorithm.collect(env, env.sample_tasks(256, generator), 1, generator)
            losses.append(algorithm.update(trajectories)["loss"])
        assert losses[0] > 1.2 > 0.8 > losses[-1]
        task = env.sample_tasks(90, generator, "test")
        (trial,) = algorithm.play(env, 1, generator, algorithm.stages())(task, False)
        first, _, last = (episode.returns.mean().item() for episode in trial.episodes(env.horizon))
        assert last > first + 1

    def test_a_longer_run_of_shards_sees_every_dataset(self):
        env, generator = (
            envs.make("dark-room", width=3, height=3, horizon=4, held_out_every=0),
            Generator().manual_seed(0),
        )
        algorithm = make(env, minibatches=2, context_size=4)
        seen = []
        algorithm.num_shards = 2
        algorithm.step = lambda data: seen.append(data.reward) or torch.zeros(4)
        (lessons,) = algorithm.collect(env, env.sample_tasks(8, generator), 1, generator)
        algorithm.update([lessons])
        rows = lessons.data.reward
        assert torch.equal(torch.cat(seen), rows[torch.tensor([0, 1, 4, 5, 2, 3, 6, 7])])
        assert lessons.num_steps == rows.numel() + lessons.reward.numel()


def test_datasets_grow_by_one_factor_and_steps_stay_as_large():
    env, generator = envs.make("dark-room", horizon=2), Generator().manual_seed(0)
    algorithm = make(env, num_iterations=8, context_size=160, growth=0.5, num_queries=4, minibatches=8, num_trials=1)
    sizes, steps, counts = [], [], []
    algorithm.step = lambda data: steps.append(len(data)) or torch.zeros(4)
    for _ in range(6):
        (lessons,) = algorithm.collect(env, env.sample_tasks(32, generator), 1, generator)
        algorithm.update([lessons])
        sizes.append(lessons.data.reward.shape[1])
        counts.append(len(steps))
        steps.clear()
    assert sizes == [10, 20, 40, 80, 160, 160]
    assert counts == [1, 1, 2, 4, 8, 8], "of 164 tokens with their queries 14, 24, 44, 84"


def test_the_dataset_stays_as_large_as_in_training_under_another_horizon():
    short, long = (make(envs.make("dark-room", horizon=h)) for h in (5, 8))
    assert (short.network.window, long.network.window) == (5, 8)
    long.load_state_dict(short.state_dict())
    assert long.network.window == 5


class TestRefusals:
    def test_a_family_without_an_oracle_is_told_which_have_one(self):
        with pytest.raises(envs.InputError, match=r"HalfCheetahDir.*dark-room") as caught:
            make(envs.make("half-cheetah-dir"))
        assert "\n" not in str(caught.value)

    def test_another_policy_and_continuous_mixtures_are_refused(self):
        with pytest.raises(envs.InputError, match="RL2Config"):
            make(envs.make("dark-room"), RL2Config())
        with pytest.raises(envs.InputError, match="mixture"):
            make(envs.make("point"), behaviour="mixture")

    @pytest.mark.parametrize("field", ["context_size", "num_queries"])
    def test_attention_among_more_tokens_than_memory_holds_is_refused(self, field):
        with pytest.raises(envs.InputError, match=field):
            DPTConfig(**{field: 100_000_000})

    def test_it_takes_no_gradient_steps(self):
        with pytest.raises(envs.InputError, match="--num-steps"):
            make(envs.make("dark-room")).stages(2)


def test_a_fresh_policy_explores_and_trials_are_as_long_as_they_should_be():
    env, generator = envs.make("dark-room", horizon=5), Generator().manual_seed(0)
    algorithm = make(env, replace(SMALL, grows="step"), num_episodes=2, num_trials=2)
    (lessons,) = algorithm.collect(env, env.sample_tasks(20, generator), 1, generator)
    assert lessons.reward.shape == (2, 10, 1), "trials of as many tasks as are to be played"
    assert algorithm.update([lessons])["entropy"] == pytest.approx(math.log(5), abs=0.05)
    assert algorithm.task_policy(env, 1, 0, generator).num_steps is None
