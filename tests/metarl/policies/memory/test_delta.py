"""The delta rule by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from memories import make, trial


def certain(entries):
    """All valid, with gates that are open and keep everything."""
    gate = torch.tensor([100.0, -100.0], dtype=torch.float64).expand_as(entries.gate)
    return dataclasses.replace(entries, gate=gate, valid=torch.ones_like(entries.valid))


def with_power(memory, power):
    memory.power.data.fill_(power)
    return memory


@pytest.mark.parametrize("form", ["delta", "gated-delta"])
@torch.no_grad()
def test_entries_of_one_key_are_replaced_or_averaged(form):
    """p = 0: the latest value stands alone; p = 1: the mean of all of them. The evidence counts them."""
    _, entries = trial(6, classes=1)
    same = entries.key[:, :1].expand_as(entries.key)
    entries = dataclasses.replace(certain(entries), key=same)
    latest, _ = with_power(make(form, classes=1), -100.0).sequence(same, entries)
    torch.testing.assert_close(latest[:, 1:, 0], entries.value[:, :-1])
    mean, evidence = with_power(make(form, classes=1), 100.0).sequence(same, entries)
    torch.testing.assert_close(mean[:, 5, 0], entries.value[:, :5].mean(1))
    torch.testing.assert_close(evidence.exp()[0, :, 0, 0], torch.arange(1, 7).double())


@torch.no_grad()
def test_orthogonal_keys_are_read_back_exactly_and_a_sum_of_keys_reads_their_sum():
    memory = with_power(make("delta", shape=(1, 3, 2), classes=1), -100.0)
    _, entries = trial(3, shape=(1, 3, 2), classes=1)
    entries = dataclasses.replace(certain(entries), key=torch.eye(3).double().expand(2, 3, 3).unsqueeze(2))
    state = memory.start(2)
    for t in range(3):
        state = memory.write(state, entries[:, t : t + 1])
    for t in range(3):
        torch.testing.assert_close(memory.read(state, entries.key[:, t])[0][:, 0], entries.value[:, t])
    both = memory.read(state, entries.key[:, 0] + entries.key[:, 1])[0][:, 0]
    torch.testing.assert_close(both, (entries.value[:, 0] + entries.value[:, 1]) / 2**0.5)
    torch.testing.assert_close(memory.read(state, -entries.key[:, 0])[0][:, 0], -entries.value[:, 0])


@torch.no_grad()
def test_an_online_linear_regression_finds_a_hidden_linear_map():
    """Values that are linear in the keys are predicted for keys never written, as an average of values cannot."""
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 3, generator=g, dtype=torch.float64)
    memory = with_power(make("delta", shape=(1, 3, 2), classes=1), -100.0)
    query, entries = trial(200, shape=(1, 3, 2), classes=1)
    unit = entries.key / entries.key.norm(dim=-1, keepdim=True)
    readout, _ = memory.sequence(query, dataclasses.replace(certain(entries), value=unit @ hidden.T))
    expected = query / query.norm(dim=-1, keepdim=True) @ hidden.T
    torch.testing.assert_close(readout[:, -1, 0], expected[:, -1], rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_a_gate_that_forgets_leaves_nothing():
    memory, (query, entries) = make("gated-delta", classes=1), trial(5, classes=1)
    gate = torch.tensor([-100.0, 100.0], dtype=torch.float64).expand_as(entries.gate)
    entries = dataclasses.replace(entries, gate=gate, valid=torch.ones_like(entries.valid))
    readout, evidence = memory.sequence(query, entries)
    assert readout[:, 0].abs().min() > 1e-3
    torch.testing.assert_close(readout[:, 1:], torch.zeros_like(readout[:, 1:]))
    torch.testing.assert_close(evidence[:, 2:, 0], (1 + 0 * evidence[:, 2:, 0]).log() + evidence[:, 2:, 0])
