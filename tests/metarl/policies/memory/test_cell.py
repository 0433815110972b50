"""The memories against loops over single entries, in the words of the module's text."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from memories import make, trial

from metarl.policies.memory import MEMORIES, GatedDeltaMemory, RingMemory, delta, linear
from metarl.policies.memory.softmax import MOST_SHARP

FORMS = list(MEMORIES)
DELTA = ("delta", "gated-delta")


def acted(memory, query, entries):
    """What `read` and `write` give step by step, shaped as `sequence` returns it."""
    state, found = memory.start(len(query)), []
    for t in range(query.shape[1]):
        found.append(memory.read(state, query[:, t]))
        state = memory.write(state, entries[:, t : t + 1])
    return tuple(torch.stack(column, 1) for column in zip(*found, strict=True))


def unit(x):
    return x / x.norm()


def plain_weight(memory, head, query, key):
    """The weight of an entry with this raw key [K] for this raw query [K]."""
    if memory.shape.uniform:
        return torch.ones(())
    if not memory.pairs:
        a, b = (
            unit(torch.log1p((linear.SHARPNESS * (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()).exp()))
            for x in (query, key)
        )
        return a @ b
    return torch.exp(MOST_SHARP * memory.sharpness[head].sigmoid() * (unit(query) @ unit(key)))


def plain(memory, query, entries):
    """Readout and evidence by definition: a loop over lanes, heads, classes, steps and the entries before each."""
    lanes, steps, heads, _ = query.shape
    shape = memory.shape
    readout = torch.zeros(lanes, steps, shape.num_classes, heads, shape.value_size, dtype=query.dtype)
    evidence = torch.zeros(lanes, steps, shape.num_classes, heads, dtype=query.dtype)
    for b in range(lanes):
        for h in range(heads):
            for t in range(steps):
                oldest = max(0, t - shape.ring_size) if isinstance(memory, RingMemory) else 0
                slots = [
                    memory.slot_weight[h, m].exp() * plain_weight(memory, h, query[b, t, h], key)
                    for m, key in enumerate(memory.slot_key[h])
                ]
                of_slots = sum(w * v for w, v in zip(slots, memory.slot_value[h], strict=True))
                for c in range(shape.num_classes):
                    total, read = sum(slots), of_slots
                    for i in range(oldest, t):
                        if entries.valid[b, i] and entries.kind[b, i] == c:
                            weight = plain_weight(memory, h, query[b, t, h], entries.key[b, i, h])
                            total, read = total + weight, read + weight * entries.value[b, i, h]
                    readout[b, t, c, h] = read / total
                    evidence[b, t, c, h] = torch.log(total / sum(slots))
    return readout, evidence


def plain_delta(memory, query, entries):
    """The same for the delta rule: a loop over matrices, in the words of delta.py."""
    lanes, steps, heads, key_size = query.shape
    shape = memory.shape
    direction = (lambda x: torch.ones_like(x) / math.sqrt(key_size)) if shape.uniform else unit
    readout = torch.zeros(lanes, steps, shape.num_classes, heads, shape.value_size, dtype=query.dtype)
    evidence = torch.zeros(lanes, steps, shape.num_classes, heads, dtype=query.dtype)
    for b in range(lanes):
        for h in range(heads):
            power = memory.power[h].sigmoid()
            weights = [memory.initial[h].T.clone() for _ in range(shape.num_classes)]
            counts = [torch.zeros(key_size, key_size, dtype=query.dtype) for _ in range(shape.num_classes)]
            for t in range(steps):
                q, k, c = direction(query[b, t, h]), direction(entries.key[b, t, h]), entries.kind[b, t]
                for i in range(shape.num_classes):
                    readout[b, t, i, h], evidence[b, t, i, h] = weights[i] @ q, torch.log1p(q @ counts[i] @ q)
                if not entries.valid[b, t]:
                    continue
                gate = entries.gate[b, t, h]
                if isinstance(memory, GatedDeltaMemory):
                    alpha = torch.exp(-torch.log1p(torch.exp(gate[1] - 7)))
                    weights, counts = [alpha * w for w in weights], [alpha * n for n in counts]
                beta = (gate[0] + 3).sigmoid() / (1 + k @ counts[c] @ k) ** power
                weights[c] = weights[c] + beta * torch.outer(entries.value[b, t, h] - weights[c] @ k, k)
                counts[c] = counts[c] + torch.outer(k, k)
    return readout, evidence


def close(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@settings(max_examples=25)
@given(
    form=st.sampled_from(FORMS),
    uniform=st.booleans(),
    steps=st.integers(1, 9),
    lanes=st.integers(1, 2),
    shape=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 2)),
    classes=st.integers(1, 3),
    slots=st.integers(1, 2),
    capacity=st.integers(1, 5),
    chunk=st.integers(1, 10),
    seed=st.integers(0, 1000),
)
@torch.no_grad()
def test_a_memory_is_what_a_loop_over_its_entries_gives(
    form, uniform, steps, lanes, shape, classes, slots, capacity, chunk, seed
):
    capacity = capacity if form == "ring" else steps
    memory = make(form, shape, classes, slots, capacity, uniform, seed)
    query, entries = trial(steps, shape, classes, lanes, seed)
    expected = (plain_delta if form in DELTA else plain)(memory, query, entries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "CHUNK", chunk)
        patch.setattr(delta, "CHUNK", chunk)
        close(memory.sequence(query, entries), expected)
    close(acted(memory, query, entries), expected)


@pytest.mark.parametrize("form", ["linear", *DELTA])
@torch.no_grad()
def test_long_trials_in_chunks_equal_single_steps(form):
    steps = 2 * linear.CHUNK + 7
    memory, (query, entries) = make(form), trial(steps)
    close(memory.sequence(query, entries), acted(memory, query, entries))


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_a_trial_starts_with_the_slots_alone(form, uniform):
    memory, (query, entries) = make(form, uniform=uniform), trial(4)
    readout, evidence = memory.read(memory.start(2), query[:, 0])
    assert torch.equal(evidence, torch.zeros_like(evidence))
    torch.testing.assert_close(readout[:, 0], readout[:, 1], msg="both classes see the same slots")
    assert readout.abs().min() > 0
    never = dataclasses.replace(entries, valid=torch.zeros_like(entries.valid))
    readout, evidence = memory.sequence(query, never)
    assert torch.equal(evidence, torch.zeros_like(evidence))
    close([readout[:, 0], readout[:, 3]], [memory.read(memory.start(2), query[:, t])[0] for t in (0, 3)])


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_classes_are_read_apart(form):
    memory, (query, entries) = make(form), trial(8)
    spoiled = dataclasses.replace(
        entries, value=torch.where((entries.kind == 1)[..., None, None], entries.value + 5, entries.value)
    )
    a, b = (memory.sequence(query, e)[0] for e in (entries, spoiled))
    torch.testing.assert_close(a[:, :, 0], b[:, :, 0])
    assert (a[:, -1, 1] - b[:, -1, 1]).abs().min() > 1e-3


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_entries_that_are_not_valid_do_not_count(form):
    memory, (query, entries) = make(form), trial(9)
    keep = entries.valid[..., None, None] > 0
    other = dataclasses.replace(
        entries,
        key=torch.where(keep, entries.key, 7.0),
        value=torch.where(keep, entries.value, -9.0),
        kind=torch.where(entries.valid > 0, entries.kind, 1 - entries.kind),
    )
    assert not torch.equal(other.key, entries.key)
    close(memory.sequence(query, other), memory.sequence(query, entries))
    close(acted(memory, query, other), memory.sequence(query, entries))
    all_valid = dataclasses.replace(entries, valid=torch.ones_like(entries.valid))
    assert (memory.sequence(query, all_valid)[0] - memory.sequence(query, entries)[0]).abs().max() > 0.1


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_attention_is_the_share_of_each_earlier_entry(form):
    """With one class, the readout is the values weighted by it, and the slots have the rest."""
    memory, (query, entries) = make(form, classes=1, slots=1), trial(7, classes=1)
    share = memory.attention(query, entries)  # [B, H, T, T]
    assert torch.equal(share, share.tril(-1))
    assert torch.equal(share * (1 - entries.valid[:, None, None]), torch.zeros_like(share))
    rest = 1 - share.sum(-1)
    assert (rest > 0).all()
    readout, evidence = memory.sequence(query, entries)
    if form != "gated-delta":  # whose attention leaves out that it forgets
        torch.testing.assert_close(-rest.log(), evidence.squeeze(2).transpose(1, 2))
    if form not in DELTA:
        value = torch.einsum("bhti,bihv->bthv", share, entries.value)
        value = value + rest.transpose(1, 2).unsqueeze(-1) * memory.slot_value[:, 0]
        torch.testing.assert_close(value, readout.squeeze(2))


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_equal_finite_differences(form, uniform, monkeypatch):
    monkeypatch.setattr(linear, "CHUNK", 3)
    monkeypatch.setattr(delta, "CHUNK", 3)
    memory = make(form, capacity=2 if form == "ring" else 9, uniform=uniform)
    query, entries = trial(5, lanes=1)
    names = [name for name, _ in memory.named_parameters()]

    def function(query, key, value, gate, *parameters):
        given = dataclasses.replace(entries, key=key, value=value, gate=gate)
        return torch.func.functional_call(memory, dict(zip(names, parameters, strict=True)), (query, given))

    memory.forward = memory.sequence
    leaves = [query, entries.key, entries.value, entries.gate, *(p.detach() for p in memory.parameters())]
    assert torch.autograd.gradcheck(function, [x.clone().requires_grad_() for x in leaves], fast_mode=True)
