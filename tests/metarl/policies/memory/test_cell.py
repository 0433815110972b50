"""The memories against loops over single entries, in the words of the module's text."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metarl.policies.memory import MEMORIES, DeltaMemory, Entries, RingMemory, linear
from metarl.policies.memory.softmax import MOST_SHARP

FORMS = ["full", "ring", "linear", "delta"]


def make(form, shape=(2, 3, 2), classes=2, slots=2, capacity=50, uniform=False, seed=0):
    """A memory in float64 whose parameters are not the first ones."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        memory = MEMORIES[form](*shape, classes, slots, capacity, uniform).double()
        for parameter in memory.parameters():
            parameter.data += 0.5 * torch.randn_like(parameter)
    return memory


def trial(steps, shape=(2, 3, 2), classes=2, lanes=2, seed=0):
    """Queries and entries of random steps, one in four of which did not happen."""
    heads, key_size, value_size = shape
    g = torch.Generator().manual_seed(seed)
    key, query = torch.randn(2, lanes, steps, heads, key_size, generator=g, dtype=torch.float64)
    value = torch.randn(lanes, steps, heads, value_size, generator=g, dtype=torch.float64)
    kind = torch.randint(classes, (lanes, steps), generator=g)
    valid = (torch.rand(lanes, steps, generator=g) > 0.25).double()
    return query, Entries(key, value, kind, valid)


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
    if memory.uniform:
        return torch.ones(())
    if not memory.pairs:
        a, b = torch.log1p(query.exp()), torch.log1p(key.exp())
        return unit(a) @ unit(b) if isinstance(memory, DeltaMemory) else a @ b / len(a)
    return torch.exp(MOST_SHARP * memory.sharpness[head].sigmoid() * (unit(query) @ unit(key)))


def plain(memory, query, entries):
    """Readout and evidence by definition: a loop over lanes, heads, classes, steps and the entries before each."""
    lanes, steps, heads, _ = query.shape
    readout = torch.zeros(lanes, steps, memory.num_classes, heads, memory.shape[2], dtype=query.dtype)
    evidence = torch.zeros(lanes, steps, memory.num_classes, heads, dtype=query.dtype)
    for b in range(lanes):
        for h in range(heads):
            strength = 1 / (1 + math.exp(-memory.write_strength[h])) if isinstance(memory, DeltaMemory) else 1.0
            stored = entries.value[b, :, h].clone()  # what each entry holds; the delta rule stores corrections
            for t in range(steps):
                oldest = max(0, t - memory.ring_size) if isinstance(memory, RingMemory) else 0
                slots = [
                    memory.slot_weight[h, m].exp() * plain_weight(memory, h, query[b, t, h], key)
                    for m, key in enumerate(memory.slot_key[h])
                ]
                of_slots = sum(w * v for w, v in zip(slots, memory.slot_value[h], strict=True))
                for c in range(memory.num_classes):
                    total, read = sum(slots), of_slots
                    if isinstance(memory, DeltaMemory):
                        read = of_slots / total
                    for i in range(oldest, t):
                        if entries.valid[b, i] and entries.kind[b, i] == c:
                            weight = plain_weight(memory, h, query[b, t, h], entries.key[b, i, h])
                            total, read = total + weight, read + weight * stored[i]
                    readout[b, t, c, h] = read if isinstance(memory, DeltaMemory) else read / total
                    evidence[b, t, c, h] = torch.log(total / sum(slots))
                if isinstance(memory, DeltaMemory):
                    for i in range(t):
                        if entries.valid[b, i] and entries.kind[b, i] == entries.kind[b, t]:
                            weight = plain_weight(memory, h, entries.key[b, t, h], entries.key[b, i, h])
                            stored[t] -= weight * stored[i]
                    stored[t] *= strength
    return readout, evidence


def close(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@settings(max_examples=25)
@given(
    form=st.sampled_from(FORMS), uniform=st.booleans(), steps=st.integers(1, 9), lanes=st.integers(1, 2),
    shape=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 2)), classes=st.integers(1, 3),
    slots=st.integers(1, 2), capacity=st.integers(1, 5), chunk=st.integers(1, 10), seed=st.integers(0, 1000),
)  # fmt: skip
@torch.no_grad()
def test_a_memory_is_what_a_loop_over_its_entries_gives(
    form, uniform, steps, lanes, shape, classes, slots, capacity, chunk, seed
):
    capacity = capacity if form == "ring" else steps
    memory = make(form, shape, classes, slots, capacity, uniform, seed)
    query, entries = trial(steps, shape, classes, lanes, seed)
    expected = plain(memory, query, entries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "CHUNK", chunk)
        close(memory.sequence(query, entries), expected)
    close(acted(memory, query, entries), expected)


@pytest.mark.parametrize("form", ["linear", "delta"])
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


def far_slots(memory):
    """Slots that count for almost nothing."""
    memory.slot_weight.data.fill_(-60.0)
    return memory


@torch.no_grad()
def test_full_memory_is_a_softmax_of_cosines():
    memory, (query, entries) = far_slots(make("full", classes=1)), trial(6, classes=1)
    entries = dataclasses.replace(entries, valid=torch.ones_like(entries.valid))
    readout, _ = memory.sequence(query, entries)
    cosine = torch.cosine_similarity(query[:, 5:, :, :], entries.key[:, :5], dim=-1)  # [B, 5, H]
    share = torch.softmax(cosine * MOST_SHARP * memory.sharpness.sigmoid(), 1)
    torch.testing.assert_close(readout[:, 5, 0], (share.unsqueeze(-1) * entries.value[:, :5]).sum(1))


@pytest.mark.parametrize("form", ["full", "ring", "linear"])
@torch.no_grad()
def test_uniform_attention_is_a_mean_and_the_evidence_a_count(form):
    memory, (query, entries) = make(form, classes=1, slots=1, uniform=True, capacity=3), trial(8, classes=1)
    entries = dataclasses.replace(entries, valid=torch.tensor([1.0, 0, 1, 1, 0, 1, 0, 1]).double().expand(2, 8))
    readout, evidence = far_slots(memory).sequence(query, entries)
    slot = memory.slot_weight.exp().squeeze(-1)
    for t in (1, 2, 7):
        seen = slice(t - 3 if form == "ring" and t > 3 else 0, t)
        valid = entries.valid[:, seen, None, None]
        count = valid.sum(1)
        torch.testing.assert_close(readout[:, t, 0], (entries.value[:, seen] * valid).sum(1) / count)
        torch.testing.assert_close(evidence[:, t, 0], ((count.squeeze(-1) + slot) / slot).log())


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


@torch.no_grad()
def test_a_ring_forgets_what_a_full_memory_keeps():
    (query, entries), changed = trial(9), {}
    entries = dataclasses.replace(entries, valid=torch.ones_like(entries.valid))
    key = entries.key.clone()
    key[:, 2] += 1
    for form in ("full", "ring"):
        memory = make(form, capacity=3 if form == "ring" else 9)
        a, b = (memory.sequence(query, e) for e in (entries, dataclasses.replace(entries, key=key)))
        changed[form] = (a[1] - b[1]).abs().amax((0, 2, 3)) > 1e-9
    assert changed["ring"].tolist() == [False] * 3 + [True] * 3 + [False] * 3
    assert changed["full"].tolist() == [False] * 3 + [True] * 6


@pytest.mark.parametrize(
    ("form", "sizes"), [("full", [0, 4, 9]), ("ring", [0, 3, 3]), ("linear", None), ("delta", None)]
)
@torch.no_grad()
def test_constant_memories_stay_as_large_as_they_were(form, sizes):
    memory, (_, entries) = make(form, capacity=3 if form == "ring" else 20), trial(9)
    states = [memory.start(2)]
    for t in range(9):
        states.append(memory.write(states[-1], entries[:, t : t + 1]))
    if sizes is None:
        assert {state.shape for state in states} == {(2, 2, 2, 3, 3)}
        assert not torch.equal(states[4], states[9])
    else:
        assert [states[t].key.shape[1] for t in (0, 4, 9)] == sizes


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
    torch.testing.assert_close(-rest.log(), evidence.squeeze(2).transpose(1, 2))
    if form != "delta":
        value = torch.einsum("bhti,bihv->bthv", share, entries.value)
        value = value + rest.transpose(1, 2).unsqueeze(-1) * memory.slot_value[:, 0]
        torch.testing.assert_close(value, readout.squeeze(2))


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_equal_finite_differences(form, uniform, monkeypatch):
    monkeypatch.setattr(linear, "CHUNK", 3)
    memory = make(form, capacity=2 if form == "ring" else 9, uniform=uniform)
    query, entries = trial(5, lanes=1)
    names = [name for name, _ in memory.named_parameters()]

    def function(query, key, value, *parameters):
        given = dataclasses.replace(entries, key=key, value=value)
        return torch.func.functional_call(memory, dict(zip(names, parameters, strict=True)), (query, given))

    memory.forward = memory.sequence
    leaves = [query, entries.key, entries.value, *(p.detach() for p in memory.parameters())]
    assert torch.autograd.gradcheck(function, [x.clone().requires_grad_() for x in leaves], fast_mode=True)


@torch.no_grad()
def test_the_sharpest_attention_stays_finite_in_float32():
    """Queries and slots that point to opposite sides, a thousand entries that all agree with the query."""
    memory = MEMORIES["full"](1, 2, 1, 1, 1, 1000)
    memory.sharpness.fill_(1e6)
    memory.slot_key.copy_(torch.tensor([-1.0, 0.0]))
    query = torch.tensor([1.0, 0.0]).expand(1, 1000, 1, 2)
    ones = torch.ones(1, 1000)
    readout, evidence = memory.sequence(query, Entries(query, torch.ones(1, 1000, 1, 1), ones.long(), ones))
    assert evidence.isfinite().all()
    torch.testing.assert_close(readout[0, 1:, 0, 0, 0], torch.ones(999))
