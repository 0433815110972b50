"""HyperX's bonuses: what was visited is no longer new, they end with the run, and reported returns do not hold them."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
import trials

from envs import InputError
from metarl.policies.varibad import VariBADConfig

CONFIG = VariBADConfig(
    latent_size=2, hidden_size=8, policy_units=8, decoder_units=8, model_updates=1, novelty_coef=0.1, error_coef=0.1
)


def collected(config=CONFIG, env=None, **fields):
    env = env or trials.plane()
    algorithm = trials.algorithm(env, config, **{"num_episodes": 3, **fields})
    return algorithm, algorithm.collect(env, env.sample_tasks(6, algorithm.generator), 2, algorithm.generator)


def rows(episodes):
    return episodes[0].map(lambda x: x.transpose(1, 2).flatten(0, 1))


def test_what_was_visited_is_no_longer_new():
    algorithm, episodes = collected()
    bonus, trial = algorithm.bonus, rows(episodes)
    hyper_state, _ = algorithm.network.explored(trial.inputs, trial.action, trial.reward)
    elsewhere = hyper_state + 3
    before = [bonus.novelty(x)[trial.mask > 0].mean() for x in (hyper_state, elsewhere)]
    for _ in range(10):
        bonus.update(trial, 1.0)
    after = [bonus.novelty(x)[trial.mask > 0].mean() for x in (hyper_state, elsewhere)]
    assert after[0] < 0.1 * before[0]
    assert after[1] / before[1] > 3 * after[0] / before[0]


def test_a_bonus_is_of_the_step_into_a_hyper_state_and_ends_with_the_run():
    algorithm, episodes = collected(dataclasses.replace(CONFIG, error_coef=0.0))
    trial = rows(episodes)
    hyper_state, error = algorithm.network.explored(trial.inputs, trial.action, trial.reward)
    assert hyper_state.shape[:2] == trial.reward.shape and (error == 0).all()
    novelty = algorithm.bonus.novelty(hyper_state)
    found, _ = copy.deepcopy(algorithm.bonus).update(trial, 0.5)
    alive = (trial.mask[:, 1:] * trial.mask[:, :-1]) > 0
    ratio = (found[:, :-1] / novelty[:, 1:])[alive]
    assert (trial.mask == 0).any() and ratio.min() > 0 and ratio.std() < 1e-5 * ratio.mean()
    assert (found[:, :-1][~alive] == 0).all() and (found[:, -1] == 0).all()
    twice, _ = copy.deepcopy(algorithm.bonus).update(trial, 1.0)
    torch.testing.assert_close(twice, 2 * found)
    assert (algorithm.bonus.update(trial, 0.0)[0] == 0).all()


def test_the_error_is_that_of_the_model():
    algorithm, episodes = collected(dataclasses.replace(CONFIG, novelty_coef=0.0))
    network, trial = algorithm.network, rows(episodes)
    error = network.explored(trial.inputs, trial.action, trial.reward)[1]
    (target,) = network.targets(trial.inputs, network.features(trial.obs), trial.action, trial.reward)
    latent = network.beliefs(trial.inputs).mean[:, 4:5]
    by_hand = (network.decoders[0](latent, target.seen[:, 3:4]).flatten() - target.target[:, 3, 0]).square()
    torch.testing.assert_close(error[:, 3], by_hand * trial.mask[:, 3])
    assert error.max() > 0


@pytest.mark.parametrize("coefs", [(0.0, 0.0), (0.1, 0.1)])
def test_bonuses_change_what_is_learned_and_not_what_is_told(coefs):
    """The reward in the trajectory, the normalizer's and the model's stay the environment's."""
    config = dataclasses.replace(CONFIG, novelty_coef=coefs[0], error_coef=coefs[1])
    algorithm, episodes = collected(config)
    trial, reward = rows(episodes), episodes[0].reward.clone()
    plain = algorithm.batch(trial)[0].advantage
    metrics = algorithm.update(episodes)
    assert episodes[0].reward.equal(reward)
    mean = (reward * episodes[0].mask).sum() / episodes[0].mask.sum()
    assert float(algorithm.network.normalizer.mean[-1]) == pytest.approx(float(mean), rel=1e-4)
    assert ("bonus" in metrics) == any(coefs)
    if any(coefs):
        bonus = algorithm.bonus.update(trial, 1.0)[0]
        assert metrics["bonus"] > 0 and not algorithm.batch(trial, bonus)[0].advantage.allclose(plain)


def test_it_goes_on_where_it_stopped():
    algorithm, episodes = collected()
    algorithm.update(episodes)
    other, _ = collected()
    other.load_state_dict(copy.deepcopy(algorithm.state_dict()))
    other.generator.set_state(algorithm.generator.get_state())
    assert algorithm.update(episodes) == other.update(episodes)
    assert algorithm.params.equal(other.params)
    saved = algorithm.state_dict()
    saved["bonus"]["nets"].pop("scale.count")
    with pytest.raises(ValueError):
        other.load_state_dict(saved)


def test_no_model_has_no_error():
    with pytest.raises(InputError, match="error_coef"):
        VariBADConfig(joint=True, decode="nothing", error_coef=0.1)
    config = dataclasses.replace(CONFIG, joint=True, decode="nothing", error_coef=0.0)
    algorithm, episodes = collected(config, trials.board())
    assert algorithm.update(episodes)["novelty"] > 0
