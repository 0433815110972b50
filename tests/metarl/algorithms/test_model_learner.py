"""What a model of the task learns beside PPO: who moves, rows and noise of shards, and that belief follows."""

from __future__ import annotations

import copy
import dataclasses

import torch
import trials
from torch import Generator

import envs
from metarl.algorithms.model_learner import METRICS
from metarl.policies.varibad import VariBADConfig

CONFIG = VariBADConfig(latent_size=2, hidden_size=16, policy_units=8, decoder_units=16, model_updates=3)


def collected(config=CONFIG, env=None, tasks=6, **fields):
    env = env or trials.board()
    algorithm = trials.algorithm(env, config, **{"num_episodes": 3, **fields})
    return algorithm, algorithm.collect(env, env.sample_tasks(tasks, algorithm.generator), 2, algorithm.generator)


def moved(network, before):
    return {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}


def test_ppo_moves_the_policy_and_the_model_the_encoder_and_decoder():
    algorithm, episodes = collected()
    network, parts = algorithm.network, ("belief_encoder", "decoders")
    before = copy.deepcopy(network.state_dict())
    learner, algorithm.model = algorithm.model, None
    algorithm.update(episodes)
    by_ppo = moved(network, before)
    assert by_ppo and not any(name.startswith(parts) for name in by_ppo)
    before = copy.deepcopy(network.state_dict())
    trial = episodes[0].map(lambda x: x.transpose(1, 2).flatten(0, 1))
    metrics = learner.update(trial, 1.0, algorithm.graphs)
    assert moved(network, before) == {name for name, _ in network.named_parameters() if name.startswith(parts)}
    assert tuple(metrics) == METRICS
    joint, episodes = collected(dataclasses.replace(CONFIG, joint=True))
    before, joint.model = copy.deepcopy(joint.network.state_dict()), None
    joint.update(episodes)
    assert any(name.startswith("belief_encoder") for name in moved(joint.network, before))


def test_a_step_takes_as_many_trials_of_each_shard_none_twice():
    algorithm, _ = collected(dataclasses.replace(CONFIG, model_trials=8, belief_steps=5), num_shards=2)
    learner = algorithm.model
    rows, noise = learner.draw(20)
    assert len(set(rows.tolist())) == 8 and sorted(rows // 10) == [0] * 4 + [1] * 4
    assert noise.shape == (8, 5, 2)
    assert len(learner.draw(4)[0]) == 4


def test_its_optimizer_goes_on_where_it_stopped():
    algorithm, episodes = collected()
    algorithm.update(episodes)
    other, _ = collected()
    other.load_state_dict(copy.deepcopy(algorithm.state_dict()))
    other.generator.set_state(algorithm.generator.get_state())
    for each in (algorithm, other):
        each.update(episodes)
    assert torch.equal(algorithm.params, other.params)


def test_beliefs_narrow_and_predict_rewards_after_a_short_training():
    """Two arms that pay always or never: after a trial the belief is narrower than before, and knows which pays."""
    env = envs.make("bernoulli-bandit", "k5-n10", num_arms=2)
    config = dataclasses.replace(CONFIG, model_lr=2e-2, model_updates=30)
    algorithm = trials.algorithm(env, config, num_episodes=1)
    generator = Generator().manual_seed(0)
    task = env.sample_tasks(100, generator)
    task = dataclasses.replace(task, mean=(task.mean > 0.5).float())
    seen = [algorithm.update(algorithm.collect(env, task, 1, generator)) for _ in range(5)]
    assert seen[-1]["model_error"] < 0.75 * seen[0]["model_error"] and seen[-1]["belief_kl"] > seen[0]["belief_kl"]
    trial = algorithm.collect(env, task, 1, generator)[0][:, :, 0]
    std = algorithm.belief(trial.inputs)[:, 1].mean((0, 2))
    assert std[-1] < 0.7 * std[0]
