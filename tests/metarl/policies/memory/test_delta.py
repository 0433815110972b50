"""The delta rule by hand."""

from __future__ import annotations

import dataclasses

import torch
from memories import far_slots, make, trial


@torch.no_grad()
def test_the_delta_rule_replaces_what_a_key_read():
    """Writing strength 1 and one key: the last value stands alone. Where values add up, they add up."""
    delta, linear = make("delta", classes=1), make("linear", classes=1)
    delta.write_strength.fill_(100.0)
    _, entries = trial(6, classes=1)
    same = entries.key[:, :1].expand_as(entries.key)
    entries = dataclasses.replace(entries, key=same, valid=torch.ones_like(entries.valid))
    before = delta.sequence(same, entries)[0]
    last, slots = entries.value[:, 4], before[:, 0, 0]
    torch.testing.assert_close(before[:, 5, 0], last + slots)
    summed = far_slots(linear).sequence(same, entries)[0]
    torch.testing.assert_close(summed[:, 5, 0], entries.value[:, :5].mean(1))
