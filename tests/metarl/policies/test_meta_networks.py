"""Meta Networks: acting equals training, gradients of layers are autograd's, and nothing leaks."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import trials
from torch import Generator

from envs import InputError
from metarl.policies.meta_networks import MetaNetworksConfig

CONFIG = MetaNetworksConfig(hidden_size=12, key_size=4, generator_units=5)
ENVS = {"board": trials.board, "plane": trials.plane, "arms": trials.arms}


def played(where, **fields):
    env = ENVS[where]()
    network = trials.make(env, CONFIG, **fields)
    return network, *trials.play(env, network)


def entries(network, inputs):
    """Keys and passes of the slow network, and the entries about all steps but the last."""
    _, key, slow = network.see(inputs, network.all_steps(inputs))
    return key, slow, network.entries(key[:, :-1], slow[:, :-1], slow[:, 1:], inputs[:, 1:])


@pytest.mark.parametrize("where", ENVS)
def test_acting_and_training_compute_the_same(where):
    network, rows, acted = played(where)
    assert trials.same_outputs(network, rows, acted) < 1e-5
    slow = network(rows.inputs).slow
    torch.testing.assert_close(slow.action, acted.slow.action, rtol=1e-5, atol=1e-5)
    assert (rows.mask == 0).any() == (where != "arms")
    assert acted.action.std() > 0.05 and (acted.action - slow.action).abs().mean() > 0.01


@pytest.mark.parametrize("where", ["board", "plane"])
def test_the_gradient_of_each_layer_is_that_of_the_actor_critic_loss(where):
    """By autograd: of log π(a) · δ + v · δ with the slow network alone, an outer product of error and input."""
    network, rows, _ = played(where)
    inputs, layers = rows.inputs, network.layers
    with torch.no_grad():
        _, slow, _ = entries(network, inputs)
        errors = network.errors(slow[:, :-1], slow[:, 1:], inputs[:, 1:])
    given = slow.inputs.split([layer.in_features for layer in layers], -1)
    left = network.num_steps - torch.arange(network.num_steps)  # a value is the mean reward of the steps left
    after = rows.mask[:, 1:] * left[1:] * slow.value[:, 1:]
    delta = network.normalizer.reward(rows.reward[:, :-1]) + after - left[:-1] * slow.value[:, :-1]
    for b, t in rows.mask[:, :-1].nonzero()[::9].tolist():
        found = network.see(inputs[b : b + 1], network.all_steps(inputs[b : b + 1]))[2]
        head = network.head(found.policy, network.free.detach().unsqueeze(0))
        log_prob = head.log_prob(rows.action[b : b + 1])[0, t]
        gain = (log_prob + found.value[0, t]) * delta[b, t]
        right = torch.autograd.grad(gain, [layer.weight for layer in layers])
        for error, x, gradient in zip(errors, given, right, strict=True):
            torch.testing.assert_close(torch.outer(error[b, t], x[b, t]), gradient, rtol=1e-4, atol=1e-5)
        assert all(gradient.abs().max() > 1e-4 for gradient in right)


@torch.no_grad()
def test_a_step_computes_with_the_sum_of_slow_weights_and_attended_fast_weights():
    """Fast weights written out as matrices."""
    network, rows, acted = played("plane")
    x, key, _ = network.see(rows.inputs, network.all_steps(rows.inputs))
    _, _, written = entries(network, rows.inputs)
    sizes = [(layer.out_features, layer.in_features) for layer in network.layers]
    b, t = 1, 7
    weight = torch.exp(20 * network.sharpness.sigmoid() * (key[b, :t] @ key[b, t])) * rows.mask[b, :t]
    share, y = weight / (1 + weight.sum()), x[b, t]
    for k, layer in enumerate(network.layers):
        error = written.error[b, :t].split([o for o, _ in sizes], -1)[k]
        given = written.input[b, :t].split([i for _, i in sizes], -1)[k]
        fast = torch.einsum("i,io,id->od", share, error, given) / math.sqrt(layer.in_features)
        y = layer(y) + fast @ y if k == 2 else layer(y).relu() + (fast @ y).relu()
    torch.testing.assert_close(y[:-1], acted.action[b, t], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network.attention(rows.inputs)[b, t, :t], share)


@pytest.mark.parametrize("where", ["board", "plane"])
def test_only_later_steps_of_a_lane_see_an_observation_an_action_or_a_reward(where):
    network, rows, _ = played(where)
    inputs = dataclasses.replace(rows, mask=torch.ones_like(rows.mask)).inputs
    for name in ("obs", "prev_reward", "prev_action"):
        changed = getattr(inputs, name).clone()
        changed[2, 8] = (changed[2, 8] + 1) % 5 if changed.dtype == torch.int64 else changed[2, 8] + 1
        moved = trials.difference(network, inputs, dataclasses.replace(inputs, **{name: changed}))
        assert (moved[2, :8] == 0).all() and (moved[2, 8:] > 1e-6).all(), name
        assert (moved[[0, 1, 3, 4, 5]] == 0).all(), name


@pytest.mark.parametrize("where", ["board", "plane"])
def test_what_is_seen_after_an_end_does_not_matter(where):
    network, rows, _ = played(where)
    padding = rows.mask == 0
    action = torch.where(padding if network.discrete else padding.unsqueeze(-1), 2, rows.action)
    obs = torch.where(padding.unsqueeze(-1), float("nan"), rows.obs)
    other = dataclasses.replace(rows, obs=obs, action=action)
    assert torch.equal(trials.outputs(network, other.inputs), trials.outputs(network, rows.inputs))
    assert (network.attention(rows.inputs)[padding[:, None].expand(-1, rows.mask.shape[1], -1)] == 0).all()


def test_at_first_a_policy_is_an_ordinary_one_with_small_fast_weights():
    env = trials.board()
    network = CONFIG.make(env, 3, Generator().manual_seed(0))
    rows, _ = trials.play(env, network)
    outputs = network(rows.inputs)
    assert network.distribution(outputs).entropy().mean() > 0.95 * math.log(env.action_space.n)
    assert 0 < (outputs.action - outputs.slow.action).abs().max() < 0.3


def test_every_parameter_learns_and_slow_weights_do_so_at_their_own_outputs_too():
    network, rows, _ = played("board")
    for outputs, still in ((lambda x: x, set()), (lambda x: x.slow, {"key", "sharpness", "of_error", "of_input"})):
        network.zero_grad()
        found = outputs(network(rows.inputs))
        (found.action.square().sum() + found.value.square().sum()).backward()
        parts = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is None or not p.grad.any()}
        assert parts - {"free"} == still


def test_nothing_learns_through_the_gradients_of_layers():
    network, rows, _ = played("board")
    _, _, written = entries(network, rows.inputs)
    (written.error.square().sum() + written.input.square().sum()).backward()
    assert all(p.grad is None or not p.grad.any() for layer in network.layers for p in layer.parameters())


def test_a_trial_of_too_many_steps_is_refused():
    with pytest.raises(InputError, match="at most 4,000 steps, and these trials have 18,000"):
        trials.make(trials.arms(pulls=6000), CONFIG)


@pytest.mark.parametrize("name", ["hidden_size", "key_size", "generator_units", "init_std"])
def test_nonsense_is_refused_in_one_line(name, sentence):
    with pytest.raises(InputError) as error:
        MetaNetworksConfig(**{name: 0 if name != "init_std" else 0.0})
    assert name in sentence(error)
