"""RL²: acting equals training for every cell and head; with a GRU it is one cell of torch after another."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
import trials
from torch import Generator, nn

from envs import InputError
from metarl.algorithms.trials import actor
from metarl.backend.traced import traced_step
from metarl.learning.rollout import rollout
from metarl.policies.cells import CELLS
from metarl.policies.rl2 import RL2Config

CONFIG = RL2Config(hidden_size=9)
SEEING = RL2Config(hidden_size=9, head="state")
HEADS = ("plain", "state", "hypernetwork")
KINDS = [RL2Config(12, cell, head) for cell, head in itertools.product(CELLS, HEADS)]
ENVS = {"board": trials.board, "plane": trials.plane, "arms": trials.arms}


@pytest.mark.parametrize("config", [CONFIG, SEEING])
@pytest.mark.parametrize("where", ENVS)
def test_acting_and_training_compute_the_same(where, config):
    env = ENVS[where]()
    network = trials.make(env, config)
    rows, acted = trials.play(env, network)
    assert trials.same_outputs(network, rows, acted) < 1e-5
    assert acted.action.std() > 0.05
    assert (rows.mask == 0).any() == (where != "arms")


@pytest.mark.parametrize("config", KINDS, ids=lambda c: f"{c.cell}, {c.head}")
def test_every_cell_and_head_acts_as_it_is_trained_traced_or_not(config):
    env = trials.board()
    network = trials.make(env, config)
    rows, acted = trials.play(env, network)
    assert trials.same_outputs(network, rows, acted) < 1e-5
    assert acted.action.std() > 0.05 and (rows.mask == 0).any()
    step, memory = traced_step(network), None
    with torch.no_grad():
        for t in range(18):
            found, memory = step(rows.inputs[:, t], memory)
            assert torch.equal(found.action, acted.action[:, t]), t
    assert isinstance(memory, list)  # a trace was recorded, since no memory grows


@pytest.mark.parametrize("config", KINDS, ids=lambda c: f"{c.cell}, {c.head}")
def test_every_parameter_learns(config):
    env = trials.plane()
    network = trials.make(env, config)
    rows, _ = trials.play(env, network)
    found = network(rows.inputs)
    loss = (found.action * torch.randn_like(found.action)).sum() + (found.value * torch.randn_like(found.value)).sum()
    learning = {name: p for name, p in network.named_parameters() if name != "free"}
    for (name, p), gradient in zip(learning.items(), torch.autograd.grad(loss, [*learning.values()]), strict=True):
        assert gradient.shape == p.shape and gradient.abs().max() > 0 and gradient.isfinite().all(), name


def test_a_cell_that_there_is_not_is_refused_with_those_that_there_are(sentence):
    with pytest.raises(InputError) as error:
        RL2Config(cell="gruu")
    assert all(cell in sentence(error) for cell in CELLS)


@torch.no_grad()
def test_it_is_a_gru_over_all_that_is_seen():
    env = trials.plane()
    network = trials.make(env, CONFIG)
    rows, acted = trials.play(env, network)
    cell = nn.GRUCell(9, 9)
    cell.load_state_dict({name.removesuffix("_l0"): p for name, p in network.cell.named_parameters()})
    (_, x), hidden = network.see(rows.inputs, network.all_steps(rows.inputs)), torch.zeros(len(rows), 9)
    for t in range(18):
        hidden = cell(x[:, t], hidden)
        torch.testing.assert_close(network.out(hidden), acted.action[:, t], rtol=1e-5, atol=1e-5)


def test_only_later_steps_see_a_step_and_lanes_are_independent():
    env, k = trials.plane(), 8
    network = trials.make(env, CONFIG)
    rows, _ = trials.play(env, network)
    rows = dataclasses.replace(rows, mask=torch.ones_like(rows.mask))
    for name in ("obs", "prev_action", "prev_reward"):
        changed = getattr(rows.inputs, name).clone()
        changed[2, k] += 1
        moved = trials.difference(network, rows.inputs, dataclasses.replace(rows.inputs, **{name: changed}))
        assert (moved[2, :k] == 0).all() and (moved[2, k:] > 1e-7).all(), name
        assert (moved[[0, 1, 3, 4, 5]] == 0).all(), name


def test_the_policy_sees_the_step_beside_its_state_where_it_is_told_to():
    """With a state that never changes, what it does still depends on the observation of the step, and on no other."""
    env, k = trials.plane(), 8
    for config, sees in ((CONFIG, False), (SEEING, True)):
        network = trials.make(env, config)
        rows, _ = trials.play(env, network)
        rows = dataclasses.replace(rows, mask=torch.ones_like(rows.mask))
        with torch.no_grad():
            for parameter in network.cell.parameters():
                parameter.zero_()
        obs = rows.obs.clone()
        obs[:, k] += 1
        moved = trials.difference(network, rows.inputs, dataclasses.replace(rows.inputs, obs=obs))
        assert (moved[:, k] > 1e-4).all() == sees and (moved[:, k] > 0).any() == sees
        assert (moved[:, :k] == 0).all() and (moved[:, k + 1 :] == 0).all()


def test_what_is_seen_after_an_end_does_not_matter():
    env = trials.board()
    network = trials.make(env, CONFIG)
    rows, _ = trials.play(env, network)
    obs = torch.where(rows.mask.unsqueeze(-1) > 0, rows.obs, float("nan"))
    assert obs.isnan().any()
    other = dataclasses.replace(rows, obs=obs, action=torch.where(rows.mask > 0, rows.action, 2))
    assert torch.equal(trials.outputs(network, other.inputs), trials.outputs(network, rows.inputs))


def test_a_trial_begins_with_nothing_of_the_trial_before():
    env = trials.board()
    network, generator = trials.make(env, CONFIG), Generator().manual_seed(0)
    task, act, found = env.sample_tasks(3, generator), actor(network, generator), []
    for seed in (1, 2, 1):
        generator.manual_seed(seed)
        found.append(rollout(env, act, task, 2, generator, 3).action)
    assert torch.equal(found[0], found[2]) and not torch.equal(found[0], found[1])


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("hidden_size", 0, "hidden_size must be at least 1"), ("init_std", -1.0, "init_std must be above 0")],
)
def test_nonsense_is_refused_in_one_line(field, value, words, sentence):
    with pytest.raises(InputError) as error:
        RL2Config(**{field: value})
    assert words in sentence(error)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_cell_of_one_layer_takes_no_number_of_layers(cell, sentence):
    with pytest.raises(InputError) as error:
        RL2Config(cell=cell, num_layers=3)
    assert "num_layers" in sentence(error)
    assert RL2Config(cell="s5", num_layers=3).num_layers == 3


def test_a_fresh_network_turns_its_state_and_decides_next_to_nothing():
    network = CONFIG.build(trials.plane(), 3)
    blocks = network.cell.get_parameter("weight_hh_l0").detach()
    torch.testing.assert_close(blocks.T @ blocks, torch.eye(9), atol=1e-5, rtol=0)
    for layer in (network.out, network.value_out):
        weight = layer.weight.detach()
        torch.testing.assert_close(weight @ weight.T, 1e-4 * torch.eye(len(weight)), atol=1e-9, rtol=1e-4)
        assert torch.all(layer.bias == 0)
