"""VariBAD: acting equals training, the belief knows only what was seen, and who teaches what."""

from __future__ import annotations

import dataclasses

import pytest
import signs
import torch
import trials

from envs import InputError
from metarl.policies.varibad import VariBADConfig

CONFIG = VariBADConfig(latent_size=2, hidden_size=9, policy_units=8, decoder_units=8)
ENVS = {"board": trials.board, "plane": trials.plane, "arms": trials.arms}


@pytest.mark.parametrize("where", ENVS)
def test_acting_and_training_compute_the_same(where):
    env = ENVS[where]()
    network = trials.make(env, CONFIG)
    rows, acted = trials.play(env, network)
    assert trials.same_outputs(network, rows, acted) < 1e-5
    assert acted.action.std() > 0.05
    assert (rows.mask == 0).any() == (where != "arms")


def test_no_belief_knows_its_own_reward_or_a_later_one_and_lanes_are_independent():
    env, k = trials.plane(), 8
    network = trials.make(env, CONFIG)
    rows, _ = trials.play(env, network)
    rows = dataclasses.replace(rows, mask=torch.ones_like(rows.mask))
    before = network.belief(rows.inputs)
    assert before.shape == (6, 2, 18, 2) and (before[:, 1] > 0).all()
    for name in ("obs", "reward", "action"):
        changed = getattr(rows, name).clone()
        changed[2, k] += 0.5
        moved = (network.belief(dataclasses.replace(rows, **{name: changed}).inputs) - before).abs().amax((1, 3))
        first = k if name == "obs" else k + 1
        assert (moved[2, :first] == 0).all() and (moved[2, first:] > 1e-7).all(), name
        assert (moved[[0, 1, 3, 4, 5]] == 0).all(), name


def test_the_policy_sees_the_observation_and_the_belief_alone():
    """With an encoder that never changes its mind, previous rewards do not matter, and the observation does."""
    env, k = trials.plane(), 8
    network = trials.make(env, CONFIG)
    rows, _ = trials.play(env, network)
    rows = dataclasses.replace(rows, mask=torch.ones_like(rows.mask))
    with torch.no_grad():
        network.belief_encoder.out.weight.zero_()
    assert (
        trials.difference(network, rows.inputs, dataclasses.replace(rows, reward=rows.reward + 1).inputs) == 0
    ).all()
    obs = rows.obs.clone()
    obs[:, k] += 1
    moved = trials.difference(network, rows.inputs, dataclasses.replace(rows, obs=obs).inputs)
    assert (moved[:, k] > 1e-4).all() and (moved[:, :k] == 0).all() and (moved[:, k + 1 :] == 0).all()


@pytest.mark.parametrize(("uncertainty", "log_variance"), [("log-variance", -40.0), ("std", 0.0)])
def test_the_policy_sees_log_variances_or_standard_deviations(uncertainty, log_variance):
    """Of a belief that is everywhere certain: -40, or 0."""
    network = trials.make(trials.plane(), dataclasses.replace(CONFIG, uncertainty=uncertainty))
    rows, _ = trials.play(trials.plane(), network)
    with torch.no_grad():
        network.belief_encoder.out.weight.zero_()
        network.belief_encoder.out.bias.copy_(torch.tensor([0.0, 0.0, -40.0, -40.0]))
        seen = torch.cat(
            [
                network.normalized_obs(rows.inputs),
                torch.tensor([0.0, 0.0] + 2 * [log_variance]).expand(*rows.mask.shape, 4),
            ],
            -1,
        )
        expected = network.out(network.trunk(seen))
        torch.testing.assert_close(network(rows.inputs).action, expected)


@pytest.mark.parametrize("joint", [False, True])
def test_the_return_teaches_the_encoder_only_jointly(joint):
    env = trials.board()
    network = trials.make(env, dataclasses.replace(CONFIG, joint=joint))
    rows, _ = trials.play(env, network)
    found = network(rows.inputs)
    (found.action.square().sum() + found.value.sum()).backward()
    of_encoder = [p.grad for p in network.belief_encoder.parameters()]
    assert all(g is None for g in of_encoder) != joint
    assert all(p.grad is None for p in network.decoders.parameters())
    assert all(p.grad is not None for p in network.trunk.parameters())


def trial_of(env, network):
    rows, _ = trials.play(env, network)
    return rows, network.targets(rows.inputs, network.normalizer.obs(rows.obs), rows.action, rows.reward)


def test_each_reward_is_predicted_from_the_step_that_it_belongs_to():
    """Where an episode ends by its time, the next observation is another episode's and stays unseen."""
    env = trials.board()
    network = trials.make(env, CONFIG)
    rows, (targets,) = trial_of(env, network)
    torch.testing.assert_close(targets.target[..., 0], network.normalizer.reward(rows.reward))
    assert torch.equal(targets.mask, rows.mask)
    size = network.obs_size
    ended = 0
    for b, t in (rows.mask > 0).nonzero().tolist():
        last = t % 6 == 5
        obs, action, after, known = targets.seen[b, t].split([size, 5, size, 1])
        torch.testing.assert_close(obs, network.normalizer.obs(rows.obs[b, t]))
        assert action.argmax() == rows.action[b, t] and action.sum() == 1 and known == (not last)
        expected = torch.zeros(size) if last else network.normalizer.obs(rows.obs[b, t + 1])
        torch.testing.assert_close(after, expected)
        ended += not last and rows.mask[b, t + 1] == 0
    assert ended > 0, "some end on the goal, whose observation is seen"


def test_next_observations_alone_and_transitions():
    env = trials.plane()
    network = trials.make(
        env, dataclasses.replace(CONFIG, decode="reward-and-transition", decode_from="next-observation")
    )
    rows, (rewards, transitions) = trial_of(env, network)
    known = rows.mask * (torch.arange(18) % 6 != 5)
    assert torch.equal(rewards.mask, known) and torch.equal(transitions.mask, known)
    torch.testing.assert_close(transitions.target, rewards.seen)
    assert transitions.seen.shape[-1] == network.obs_size + network.action_size
    alone = trials.make(env, dataclasses.replace(CONFIG, decode_from="next-observation"))
    assert len(trial_of(env, alone)[1]) == 1


def test_without_a_decoder_there_is_no_model():
    network = trials.make(trials.board(), dataclasses.replace(CONFIG, decode="nothing", joint=True))
    assert network.model is None
    assert trials.make(trials.board(), CONFIG).model is not None


def test_nonsense_is_refused_in_one_line(sentence):
    with pytest.raises(InputError) as error:
        VariBADConfig(decode="nothing")
    assert "joint" in sentence(error)
    with pytest.raises(InputError) as error:
        VariBADConfig(latent_size=0)
    assert "latent_size" in sentence(error)
    with pytest.raises(InputError) as error:
        dataclasses.replace(CONFIG, decode="reward-and-transition").build(
            signs.Signs(signs.PRESETS["small"], torch.device("cpu")), 1
        )
    assert "decode" in sentence(error)
