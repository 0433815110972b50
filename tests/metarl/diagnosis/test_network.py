"""What a diagnosis says about the network: units and the baseline."""

from __future__ import annotations

import math

import pytest
import torch
from diagnoses import changed, diagnosis, layers, normal, suggested, trained

from metarl.algorithms.maml import MAMLConfig
from metarl.diagnosis.network import explained, held_out_linear
from metarl.policies.mlp import MLPConfig

# --- The baseline ------------------------------------------------------------------------------------------------


def test_explained_variance_is_within_tasks_and_valid_steps():
    target, mask = normal(3, 5, 4), (normal(3, 5, 4, seed=1) > -1).float()
    offset = torch.tensor([5.0, -7.0, 100.0]).view(3, 1, 1)
    assert explained(target, target, mask) == pytest.approx(1)
    assert explained(target + offset, target, mask) == pytest.approx(1)
    assert explained(target, torch.where(mask > 0, target, 99.0), mask) == pytest.approx(1)
    assert explained(target, torch.zeros_like(target), mask) == pytest.approx(0)
    assert explained(target, -target, mask) == pytest.approx(-3)
    assert math.isnan(explained(offset.expand(3, 5, 4), target, mask))


def test_a_fit_to_other_samples_finds_a_law_and_no_noise():
    x = torch.cat([normal(2, 20, 6, 3), torch.ones(2, 20, 6, 1)], -1)
    weights = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 1.0, 1.0, -1.0]])
    mask = torch.ones(2, 20, 6)
    law = (x * weights[:, None, None]).sum(-1)
    torch.testing.assert_close(held_out_linear(x, law, mask).float(), law, rtol=1e-3, atol=1e-3)
    noise = normal(2, 20, 6, seed=4)
    assert explained(noise, held_out_linear(x, noise, mask).float(), mask) < 0.05
    spoilt = law.clone()
    spoilt[:, :, 3:] = 1e3
    mask[:, :, 3:] = 0
    fit = held_out_linear(x, spoilt, mask).float()
    torch.testing.assert_close(fit[:, :, :3], law[:, :, :3], rtol=1e-3, atol=1e-3)


def test_dead_relu_units_are_found(relu, tmp_path):
    assert diagnosis(relu, num_tasks=8).findings["hidden units"].verdict != "problem"

    def kill(state):
        layers(relu, state)[1][:, -1] = -100

    found = diagnosis(changed(relu, tmp_path / "dead", kill), num_tasks=8)
    finding = found.findings["hidden units"]
    assert finding.verdict == "problem" and "100% of the units in hidden layer 2 are never active" in finding.sentence
    assert finding.numbers["useless units in each layer"][1] == 1

    def kill_half(state):
        layers(relu, state)[0][:16, -1] = -100

    finding = diagnosis(changed(relu, tmp_path / "half", kill_half), num_tasks=8).findings["hidden units"]
    assert finding.verdict == "note" and "% of the units in hidden layer 1" in finding.sentence
    assert 0.5 <= finding.numbers["useless units in each layer"][0] < 0.8


def test_saturated_tanh_units_are_found(good, tmp_path):
    def saturate(state):
        layers(good, state)[0][:, -1] = 50

    finding = diagnosis(changed(good, tmp_path / "run", saturate), num_tasks=8).findings["hidden units"]
    assert finding.verdict == "problem" and "100% of the units in hidden layer 1 are saturated" in finding.sentence


def test_units_that_see_one_observation_are_not_called_dead(tmp_path):
    run = trained(
        tmp_path / "run",
        MAMLConfig(inner_lr=1.0),
        env="bernoulli-bandit",
        env_preset="k5-n10",
        env_fields={},
        num_iterations=1,
    )

    def saturate(state):
        layers(run, state)[0][:, -1] = 50

    finding = diagnosis(changed(run, tmp_path / "saturated", saturate), num_tasks=8).findings["hidden units"]
    assert finding.verdict == "does not apply" and "observations are the same" in finding.sentence


def test_a_policy_without_hidden_layers_has_no_hidden_units(tmp_path):
    run = trained(tmp_path / "run", MAMLConfig(), MLPConfig(()), num_iterations=1)
    assert diagnosis(run, num_tasks=8).findings["hidden units"].verdict == "does not apply"


@pytest.mark.parametrize(("value_lr", "verdicts"), [(0.0, ["problem"]), (0.03, ["ok", "note"])])
def test_a_value_network_that_was_not_trained_is_found(tmp_path, value_lr, verdicts):
    d = diagnosis(trained(tmp_path / "run", MAMLConfig(baseline="value", value_lr=value_lr)))
    finding = d.findings["baseline"]
    assert finding.verdict in verdicts
    assert finding.numbers["linear fit for all tasks"] > 0.3
    assert (finding.numbers["value network"] < 0.1) == (value_lr == 0)
    if value_lr == 0:
        assert suggested(finding, "--value-lr") == 1e-3
