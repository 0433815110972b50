"""PPO on trials: advantages by hand, the loss by finite differences, learning, resuming, bad input."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
import trials
from torch import Generator

import envs
from envs import InputError
from metarl.algorithms.base import Stages
from metarl.algorithms.recurrent_ppo import METRICS, RecurrentPPOConfig
from metarl.learning.advantage import discounted_sum, gae
from metarl.learning.rollout import Trajectory
from metarl.policies.cells import CELLS
from metarl.policies.metanet import MetaNetConfig
from metarl.policies.recurrent import Normalizer
from metarl.policies.rl2 import RL2Config
from metarl.training.config import TrainConfig
from metarl.training.loop import train, train_iteration
from metarl.training.run import Run

NET = MetaNetConfig(hidden_size=8, num_heads=2, key_size=3, code_size=3, action_units=4, num_slots=2)


POLICIES = {"metanet": NET, "rl2": RL2Config(8)}


def collected(env=None, policy=NET, tasks=6, **fields):
    """An algorithm with the episodes of a meta-iteration, some of which end early."""
    env = env or trials.board()
    algorithm = trials.algorithm(env, policy, **{"num_episodes": 3, **fields})
    generator = algorithm.generator
    episodes = algorithm.collect(env, env.sample_tasks(tasks, generator), 2, generator)
    return SimpleNamespace(env=env, algorithm=algorithm, episodes=episodes, rows=as_rows(episodes))


def as_rows(episodes):
    return Trajectory.cat(episodes, 1).map(lambda x: x.transpose(1, 2).flatten(0, 1))


# --- Advantages --------------------------------------------------------------------------------------------------


def test_advantages_reach_over_an_episode_that_ends_early():
    """γ = λ = 0.5, two episodes of three steps; the first ends at its second step, and its third is padding."""
    reward = torch.tensor([[1.0, 2, 0, 3, 4, 5]])
    value = torch.tensor([[2.0, 4, 100, 6, 8, 10]])
    mask = torch.tensor([[1.0, 1, 0, 1, 1, 1]])
    last = 5 - 10
    fourth = 4 + 5 - 8 + 0.25 * last
    third = 3 + 4 - 6 + 0.25 * fourth
    second = 2 + 3 - 4 + 0.25 * third  # followed by the next episode's first step, not by the padding
    first = 1 + 2 - 2 + 0.25 * second
    found = gae(reward, value, mask, 0.5, 0.5)
    torch.testing.assert_close(found, torch.tensor([[first, second, 0, third, fourth, last]]))
    mask[0, 5] = 0  # and the last episode at its second: what follows is worth nothing
    fourth = 4 - 8
    assert gae(reward, value, mask, 0.5, 0.5)[0, 3:].tolist() == [3 + 4 - 6 + 0.25 * fourth, fourth, 0]


def test_advantages_of_trials_without_padding_are_those_of_one_long_episode():
    generator = Generator().manual_seed(0)
    reward, value = (torch.randn(5, 12, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.ones_like(reward)
    following = torch.cat([value[:, 1:], torch.zeros(5, 1, dtype=torch.float64)], 1)
    expected = discounted_sum(reward + 0.9 * following - value, 0.9 * 0.7)
    torch.testing.assert_close(gae(reward, value, mask, 0.9, 0.7), expected)


# --- Updates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
def test_the_first_minibatch_meets_the_policy_that_acted(policy):
    p = collected(policy=POLICIES[policy], lr=0.05, epochs=2)
    assert (p.rows.mask == 0).any()
    batch, seen = p.algorithm.batch(p.rows)[0], []
    outputs = p.algorithm.network(batch.inputs)
    new = p.algorithm.network.distribution(outputs).log_prob(batch.action)
    torch.testing.assert_close(new, batch.log_prob, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(outputs.value, p.rows.outputs.value, rtol=1e-5, atol=1e-5)  # kept while it acted
    descend = p.algorithm.descend
    p.algorithm.descend = lambda *args: seen.append(descend(*args)) or seen[-1]
    p.algorithm.update(p.episodes)
    kl = [float(metrics[METRICS.index("kl")]) for metrics in seen]
    assert len(kl) == 8
    assert abs(kl[0]) < 1e-7 and max(kl[4:]) > 1e-5


def test_a_trial_is_never_divided_and_each_epoch_sees_all():
    p = collected(epochs=3, minibatches=5)
    rows, seen = p.algorithm.batch(p.rows)[0], []
    descend = p.algorithm.descend
    p.algorithm.descend = lambda batch, coef: seen.append(batch) or descend(batch, coef)
    p.algorithm.update(p.episodes)
    assert len(rows) == 12 and len(seen) == 15
    assert all(batch.mask.shape[1] == 18 for batch in seen)
    orders = []
    for k in range(0, 15, 5):
        advantage = torch.cat([batch.advantage for batch in seen[k : k + 5]])
        match = (advantage.unsqueeze(1) == rows.advantage).all(-1)  # [12, 12]
        assert torch.equal(match.sum(0), torch.ones(12)) and torch.equal(match.sum(1), torch.ones(12))
        orders.append(match.int().argmax(1).tolist())
    assert len({tuple(order) for order in orders}) == 3, "each in an order of its own"
    few = collected(tasks=1, minibatches=50)
    assert few.algorithm.update(few.episodes)["kl"] >= 0


@pytest.mark.parametrize("policy", POLICIES)
def test_the_gradient_of_the_loss_equals_finite_differences(policy):
    """In float64, at ratios on both sides of the clip; the loss is written again in one line a term.

    Without the loss gradient as meta-information, through which nothing learns.
    """
    config = {"metanet": dataclasses.replace(NET, meta_information="transition"), "rl2": RL2Config(8)}[policy]
    p = collected(policy=config, max_grad_norm=1e9, tasks=2, aux_coef=0.0)
    algorithm, network, c = p.algorithm, p.algorithm.network.double(), p.algorithm.config
    rows = p.rows.map(lambda x: x.double() if x.is_floating_point() else x)
    network.load_state_dict(trials.make(p.env, config).double().state_dict())
    batch, _ = algorithm.batch(rows)
    noise = torch.randn(batch.mask.shape, generator=algorithm.generator, dtype=torch.float64)
    batch = dataclasses.replace(batch, log_prob=batch.log_prob + 0.3 * noise)

    @torch.no_grad()
    def loss():
        found = network(batch.inputs)
        distribution = network.distribution(found)
        ratio = (distribution.log_prob(batch.action) - batch.log_prob).exp()
        clipped = torch.where(batch.advantage > 0, ratio.clamp_max(1 + c.clip), ratio.clamp_min(1 - c.clip))
        error = (found.value - batch.target) ** 2
        each = -clipped * batch.advantage + c.value_coef * error - 0.3 * distribution.entropy()
        return each[batch.mask > 0].mean()

    before = copy.deepcopy(network.state_dict())
    algorithm.descend(batch, torch.tensor(0.3))
    gradient = [torch.zeros_like(q) if q.grad is None else q.grad.clone() for q in network.parameters()]
    network.load_state_dict(before)
    for seed in range(4):
        g = Generator().manual_seed(seed)
        direction = [torch.randn(q.shape, generator=g, dtype=torch.float64) for q in network.parameters()]
        values = []
        for size in (1e-6, -1e-6):
            with torch.no_grad():
                for q, d in zip(network.parameters(), direction, strict=True):
                    q.add_(size * d)
                values.append(loss())
                network.load_state_dict(before)
        slope = sum((a * b).sum() for a, b in zip(gradient, direction, strict=True))
        assert float(slope) == pytest.approx(float(values[0] - values[1]) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("aux_coef", [0.0, 0.3])
def test_outputs_of_slow_weights_have_the_same_loss(aux_coef):
    """As if they were the network's own, with a weight and without entropy."""
    p = collected(max_grad_norm=1e9, tasks=2, aux_coef=aux_coef)
    algorithm, network = p.algorithm, p.algorithm.network
    batch, none = algorithm.batch(p.rows)[0], torch.zeros(())
    whole = network.forward

    def forward(inputs):
        return dataclasses.replace(whole(inputs), slow=None)

    def slow(inputs):
        return forward(inputs).map(lambda x: x / 2)

    def gradient(function):
        network.forward = function
        return algorithm.gradient(batch, none)[0]

    own, alone = gradient(forward), gradient(slow)
    both = gradient(lambda inputs: dataclasses.replace(forward(inputs), slow=slow(inputs)))
    assert float(alone.norm()) > 0.01 * float(own.norm())
    torch.testing.assert_close(both, own + aux_coef * alone, rtol=1e-4, atol=1e-6)


def test_free_episodes_earn_what_comes_after_them():
    """Their own rewards do not count, those of later episodes count for their actions, too."""
    p = collected(num_episodes=3, free_episodes=2, gae_lambda=1.0)
    horizon, reward, mask = p.env.horizon, p.rows.reward, p.rows.mask
    batch, _ = p.algorithm.batch(p.rows)
    other = dataclasses.replace(
        p.rows, reward=torch.cat([torch.randn(len(reward), 2 * horizon), reward[:, -horizon:]], 1)
    )
    torch.testing.assert_close(p.algorithm.batch(other)[0].target * mask, batch.target * mask)
    network = p.algorithm.network
    shift, scale = network.normalizer.mean[-1], network.normalizer.reward_scale
    later = (reward * mask)[:, -horizon:].sum(1)
    torch.testing.assert_close(batch.target[:, 0], (later / (3 * horizon) - shift) / scale)


def test_free_episodes_must_leave_some(sentence):
    with pytest.raises(InputError) as error:
        RecurrentPPOConfig(num_episodes=2, free_episodes=2)
    assert "free_episodes" in sentence(error)


def test_the_step_size_rises_and_falls():
    p = collected(lr=1e-3, warmup=0.3, epochs=1, minibatches=1, tasks=1)
    used = []
    for _ in range(11):
        p.algorithm.update(p.episodes)
        used.append(p.algorithm.optimizer.param_groups[0]["lr"])
    rising = [1 / 3, 2 / 3] + [1.0] * 9
    assert used == pytest.approx([1e-3 * rising[k] * (1 - k / 10) for k in range(11)])


def test_entropy_counts_until_its_end():
    p = collected(entropy_coef=0.1, entropy_until=0.5, epochs=1, minibatches=1, tasks=1)
    coefs, descend = [], p.algorithm.descend
    p.algorithm.descend = lambda batch, coef: coefs.append(float(coef)) or descend(batch, coef)
    for _ in range(7):
        p.algorithm.update(p.episodes)
    assert coefs == pytest.approx([0.1, 0.08, 0.06, 0.04, 0.02, 0, 0])


def test_the_normalizer_knows_all_valid_steps_seen():
    p, seen = collected(epochs=1, minibatches=1), []
    for _ in range(3):
        episodes = p.algorithm.collect(p.env, p.env.sample_tasks(4, p.algorithm.generator), 2, p.algorithm.generator)
        rows = as_rows(episodes)
        rows = dataclasses.replace(rows, obs=torch.where(rows.mask.unsqueeze(-1) > 0, rows.obs, float("nan")))
        seen.append(torch.cat([rows.obs, rows.reward.unsqueeze(-1)], -1)[rows.mask > 0])
        p.algorithm.update(episodes)
    x, normalizer = torch.cat(seen), p.algorithm.network.normalizer
    assert len(x) < 3 * 8 * 18
    torch.testing.assert_close(normalizer.mean, x.mean(0))
    torch.testing.assert_close(normalizer.variance, x.var(0, correction=0))
    assert float(normalizer.count) == len(x)
    torch.testing.assert_close(normalizer.reward(x[:, -1]).std(correction=0), torch.tensor(1.0))


@pytest.mark.parametrize(("rewards", "unit"), [([2.0, 2.0, 2.0], 2.0), ([-1.0, 3.0], 2.0), ([0.0, 0.0], 1e-6)])
def test_values_have_a_unit_also_where_every_step_pays_the_same(rewards, unit):
    """A standard deviation of 0 would leave values no room, as on CartPole."""
    normalizer, reward = Normalizer(1), torch.tensor(rewards)
    normalizer.update(torch.zeros(len(reward), 1), reward, torch.ones(len(reward)))
    torch.testing.assert_close(float(normalizer.reward_scale), unit)


LEARNERS = {
    "metanet": dataclasses.replace(NET, hidden_size=16),
    **{cell: RL2Config(32, cell) for cell in CELLS},
    "hypernetwork": RL2Config(32, head="hypernetwork"),
}


@pytest.mark.parametrize("policy", LEARNERS)
def test_it_learns_a_bandit(policy):
    """Two arms, ten pulls: 5 by chance, about 6.2 at best."""
    env = envs.make("bernoulli-bandit", "k5-n10", num_arms=2)
    config = LEARNERS[policy]
    algorithm = trials.algorithm(env, config, num_iterations=12, lr=1e-2, epochs=6, minibatches=2)
    generator = algorithm.generator

    def score():
        play = algorithm.play(env, 1, generator, algorithm.stages())
        return float(play(env.sample_tasks(2000, generator), False)[0].returns.mean())

    before = score()
    for _ in range(12):
        algorithm.update(algorithm.collect(env, env.sample_tasks(150, generator), 1, generator))
    assert before == pytest.approx(5, abs=0.25)
    assert score() > 5.5


@pytest.mark.parametrize("policy", POLICIES)
def test_a_restored_algorithm_goes_on_to_the_bit(policy):
    p = collected(policy=POLICIES[policy], epochs=2, minibatches=2)
    p.algorithm.update(p.episodes)
    other = collected(policy=POLICIES[policy], epochs=2, minibatches=2, seed=9).algorithm
    assert not torch.equal(other.params, p.algorithm.params)
    other.load_state_dict(copy.deepcopy(p.algorithm.state_dict()))
    other.generator.set_state(p.algorithm.generator.get_state())
    metrics = [algorithm.update(p.episodes) for algorithm in (p.algorithm, other)]
    assert metrics[0] == metrics[1]
    assert torch.equal(other.params, p.algorithm.params)
    assert torch.equal(other.network.normalizer.mean, p.algorithm.network.normalizer.mean)
    assert other.updates == 2


# --- Runs and bad input ------------------------------------------------------------------------------------------


def make_trial_run(path, num_arms=3, policy=NET, **fields):
    algorithm = RecurrentPPOConfig(num_episodes=2, epochs=1)
    config = TrainConfig(
        "bernoulli-bandit",
        "k5-n10",
        policy=policy,
        algorithm=algorithm,
        **{"num_iterations": 4, "meta_batch_size": 3, "num_envs": 2, "eval_num_envs": 2, **fields},
    )
    run = Run(
        path, "metanet-bandit", config, envs.make_config("bernoulli-bandit", "k5-n10", num_arms=num_arms, horizon=5)
    )
    run.create()
    return run


@pytest.mark.parametrize("policy", POLICIES)
def test_a_run_resumes_in_the_middle_to_the_bit(policy, tmp_path):
    whole, run = (make_trial_run(tmp_path / name, policy=POLICIES[policy]) for name in ("whole", "parts"))
    train(whole, quiet=True)
    untouched = run.algorithm.params
    with pytest.raises(ZeroDivisionError), run.undone_on_error():
        train_iteration(run)
        assert not torch.equal(run.algorithm.params, untouched)
        _ = 1 / 0
    assert torch.equal(run.algorithm.params, untouched)
    run.log(train_iteration(run))
    run.save()
    again = Run.open(run.path)
    assert again.config == run.config and again.iteration == 1
    train(again, quiet=True)
    assert torch.equal(again.algorithm.params, whole.algorithm.params)
    for a, b in zip(again.algorithm.network.buffers(), whole.algorithm.network.buffers(), strict=True):
        assert torch.equal(a, b)
    lines = [json.loads(line) for line in (again.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [1, 2, 3, 4]
    assert lines[0].keys() >= {"return_0", "return_1", "kl", "entropy", "value_loss", "value_explained"}
    assert again.env_steps == 4 * 2 * 3 * 2 * 5  # iterations, episodes, tasks, lanes, steps


@pytest.mark.parametrize("policy", POLICIES)
def test_a_run_of_another_number_of_arms_is_refused(policy, tmp_path, sentence):
    few, many = (make_trial_run(tmp_path / str(k), k, POLICIES[policy]) for k in (3, 4))
    many.save()
    shutil.copy(many.path / "checkpoint.pt", few.path)
    with pytest.raises(InputError) as error:
        Run.open(few.path)
    text = sentence(error)
    assert "is not a checkpoint of the run in config.json beside it: " in text
    found, expected = (run.algorithm.network.state_dict() for run in (many, few))
    name = next(name for name in expected if found[name].shape != expected[name].shape)
    assert f"its {name} has the shape {list(found[name].shape)}, and here {list(expected[name].shape)} is right" in text


def test_a_run_with_another_policy_is_refused(tmp_path, sentence):
    net, gru = (make_trial_run(tmp_path / name, policy=policy) for name, policy in POLICIES.items())
    gru.save()
    shutil.copy(gru.path / "checkpoint.pt", net.path)
    with pytest.raises(InputError) as error:
        Run.open(net.path)
    assert "it is a checkpoint of another kind of policy" in sentence(error)


@pytest.mark.parametrize("spoil", [{}, {"network": 3}, {"network": {}}, {"network": {"free": [1]}}])
def test_a_checkpoint_that_is_none_is_refused(spoil, tmp_path, sentence):
    run = make_trial_run(tmp_path / "run")
    torch.save({**run.state_dict(), "algorithm": spoil}, run.path / "checkpoint.pt")
    with pytest.raises(InputError) as error:
        Run.open(run.path)
    assert "is not a checkpoint of the run in config.json beside it" in sentence(error)


def test_tasks_of_another_number_of_arms_are_refused(tmp_path, sentence):
    run = make_trial_run(tmp_path / "run")
    other = envs.make("bernoulli-bandit", "k5-n10")
    task = other.sample_tasks(2, Generator().manual_seed(0))
    path = envs.save_tasks(tmp_path / "tasks.json", "bernoulli-bandit", "k5-n10", other, task)
    with pytest.raises(InputError) as error:
        envs.load_tasks(path, run.env)
    sentence(error)


def test_gradient_steps_of_a_run_with_a_memory(tmp_path, sentence):
    run = make_trial_run(tmp_path / "run")
    stages = run.algorithm.stages
    assert stages() == Stages(num_episodes=2)
    with pytest.raises(InputError) as error:
        stages(3)
    assert "--num-steps" in sentence(error)


NONSENSE = {
    "num_episodes": (0, "num_episodes must be at least 1"),
    "epochs": (0, "epochs must be at least 1"),
    "minibatches": (-1, "minibatches must be at least 1"),
    "lr": (0.0, "lr must be above 0"),
    "clip": (-0.2, "clip must be above 0"),
    "max_grad_norm": (float("nan"), "max_grad_norm must be above 0"),
    "warmup": (1.5, "warmup must be at least 0 and at most"),
    "gamma": (1.1, "gamma must be at least 0 and at most"),
    "gae_lambda": (-0.1, "gae_lambda must be at least 0 and at most"),
    "entropy_until": (2.0, "entropy_until must be at least 0 and at most"),
    "value_coef": (-1.0, "value_coef must be at least 0"),
    "entropy_coef": (-0.1, "entropy_coef must be at least 0"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_refused_in_one_line(name, sentence):
    value, words = NONSENSE[name]
    with pytest.raises(InputError) as error:
        RecurrentPPOConfig(**{name: value})
    assert sentence(error).startswith(words)
