"""MetaNet: acting equals training, nothing leaks, and each option does what its text says."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
import trials
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator
from torch.nn import functional

import envs
from envs import InputError
from metarl.algorithms.trials import actor
from metarl.learning.rollout import rollout
from metarl.policies.fast_weights import preprocessed
from metarl.policies.memory import delta, linear
from metarl.policies.metanet import MetaNetConfig
from metarl.policies.mlp import StepInput
from metarl.policies.recurrent import SlowOutputs

MEMORIES = ["full", "ring", "linear", "delta", "gated-delta", "none"]
SMALL = {"hidden_size": 12, "num_heads": 2, "key_size": 4, "code_size": 3, "action_units": 5, "num_slots": 2}
ENVS = {"board": trials.board, "plane": trials.plane}


def config(memory="linear", **fields):
    return MetaNetConfig(**{**SMALL, "memory": memory, "ring_size": 5, **fields})


def step_of(rows, t):
    """A mask [B, T, 1] of one step."""
    return (torch.arange(rows.mask.shape[1]) == t)[None, :, None]


def with_inputs(rows, **changes):
    return dataclasses.replace(rows.inputs, **changes)


# --- Acting and training -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("where", ENVS)
def test_acting_and_training_compute_the_same(where, memory, monkeypatch):
    monkeypatch.setattr(linear, "CHUNK", 7)
    monkeypatch.setattr(delta, "CHUNK", 7)
    env, padded = ENVS[where](), False
    choices = itertools.product(("gradient", "transition"), ("fast", "readout"), ("transition", "observation"))
    for k, (information, weights, keys) in enumerate(choices):
        if memory == "none" and k > 0:
            break  # without a memory the choices change nothing
        attention = ("learned", "uniform")[k % 2]
        fields = {"weights": weights, "attention": attention, "meta_information": information, "keys": keys}
        fields["output_memory"] = k % 4 < 2
        if where == "board":
            fields["action_heads"] = k % 3
        network = trials.make(env, config(memory, **fields))
        rows, acted = trials.play(env, network)
        padded |= bool((rows.mask == 0).any())
        assert trials.same_outputs(network, rows, acted) < 1e-5, fields
        assert acted.action.std() > 0.05, "the outputs should vary"
    assert padded, "some episodes should end early"


@pytest.mark.parametrize("memory", MEMORIES)
def test_acting_and_training_compute_the_same_in_trials_longer_than_a_chunk(memory):
    env = trials.arms(pulls=70)
    assert env.horizon > linear.CHUNK and env.horizon > delta.CHUNK
    network = trials.make(env, config(memory), 1)
    rows, acted = trials.play(env, network, 1)
    assert trials.same_outputs(network, rows, acted) < 1e-5


@pytest.mark.parametrize("memory", MEMORIES[:-1])
def test_what_is_kept_between_steps_grows_with_a_full_memory_alone(memory):
    env = trials.board()
    network, sizes = trials.make(env, config(memory)), []

    def act(inputs, state, kept):
        found, kept = network.step(inputs.map(lambda x: x.flatten(0, 1)), kept)
        tensors = [s if isinstance(s, torch.Tensor) else next(iter(vars(s).values())) for s in kept.states.values()]
        sizes.append([x.numel() for x in tensors])
        return network.distribution(found).sample(generator).unflatten(0, inputs.obs.shape[:2]), kept

    generator = Generator().manual_seed(0)
    rollout(env, act, env.sample_tasks(2, generator), 1, generator, 3)
    assert len(sizes) == 18
    if memory == "full":
        assert all(a[0] < b[0] for a, b in itertools.pairwise(sizes))
    else:
        assert sizes[6] == sizes[17]


# --- What depends on what ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("where", ["board", "plane"])
def test_only_later_steps_see_an_observation_an_action_or_a_reward(where, memory):
    env, k = ENVS[where](), 8
    network = trials.make(env, config(memory))
    rows, _ = trials.play(env, network)
    rows = dataclasses.replace(rows, mask=torch.ones_like(rows.mask))
    at = step_of(rows, k)
    inputs = rows.inputs
    action = torch.where(at[..., 0], (inputs.prev_action + 1) % 5, inputs.prev_action) if network.discrete else None
    for name, changed in {
        "obs": torch.where(at, inputs.obs + 1, inputs.obs),
        "prev_reward": torch.where(at[..., 0], inputs.prev_reward + 1, inputs.prev_reward),
        "prev_action": torch.where(at, inputs.prev_action + 1, inputs.prev_action) if action is None else action,
    }.items():
        moved = trials.difference(network, inputs, dataclasses.replace(inputs, **{name: changed}))
        assert (moved[:, :k] < 1e-6).all(), name  # a triangular solver may round earlier rows otherwise
        assert (moved[:, k] > 1e-4).all(), name
        later = moved[:, k + 1 :]
        if memory == "none":
            assert (later == 0).all(), name
        elif memory == "ring":
            assert (later[:, :4] > 1e-6).all() and (later[:, 5:] < 1e-6).all(), name
        else:
            assert (later > 1e-6).all(), name


@pytest.mark.parametrize("memory", MEMORIES)
def test_lanes_are_independent(memory):
    network = trials.make(trials.board(), config(memory))
    rows, acted = trials.play(trials.board(), network)
    lane = (torch.arange(len(rows)) == 2)[:, None]
    inputs = with_inputs(
        rows,
        obs=torch.where(lane.unsqueeze(-1), rows.obs + 3, rows.obs),
        prev_reward=torch.where(lane, -5.0, rows.inputs.prev_reward),
        mask=torch.where(lane, 1.0, rows.mask),
    )
    moved = trials.difference(network, rows.inputs, inputs).amax(1)
    assert moved[2] > 0.1
    assert (moved[[0, 1, 3, 4, 5]] < 1e-6).all()
    alone = trials.outputs(network, rows.inputs[3:4])
    torch.testing.assert_close(alone[0, :, :-1], acted.action[3], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("where", ENVS)
def test_what_is_seen_after_an_end_does_not_matter(where, memory):
    env = ENVS[where]()
    network = trials.make(env, config(memory))
    rows, _ = trials.play(env, network)
    padding = rows.mask == 0
    assert padding.any()
    for value in (100.0, float("nan"), float("inf")):
        action = torch.where(padding if network.discrete else padding.unsqueeze(-1), 2, rows.action)
        other = dataclasses.replace(rows, obs=torch.where(padding.unsqueeze(-1), value, rows.obs), action=action)
        assert torch.equal(trials.outputs(network, other.inputs), trials.outputs(network, rows.inputs))


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_trial_begins_with_nothing_of_the_trial_before(memory):
    env = trials.board()
    network = trials.make(env, config(memory))
    generator = Generator().manual_seed(0)
    task = env.sample_tasks(3, generator)
    act = actor(network, generator)
    found = []
    for seed in (1, 2, 1):
        generator.manual_seed(seed)
        found.append(rollout(env, act, task, 2, generator, 3))
    assert not torch.equal(found[0].action, found[1].action)
    assert torch.equal(found[0].action, found[2].action) and torch.equal(found[0].reward, found[2].reward)


def test_the_first_step_of_a_trial_sees_no_previous_action_or_reward():
    for env in (trials.board(), trials.plane()):
        network = trials.make(env, config())
        rows, _ = trials.play(env, network)
        start, inputs = step_of(rows, 0), rows.inputs
        action = torch.where(start if inputs.prev_action.dim() == 3 else start[..., 0], 2, inputs.prev_action)
        changed = with_inputs(rows, prev_action=action, prev_reward=torch.where(start[..., 0], 9, inputs.prev_reward))
        assert torch.equal(trials.outputs(network, changed), trials.outputs(network, inputs))


@pytest.mark.parametrize(("memory", "remembers"), [("none", False), ("linear", True)])
def test_the_memory_survives_the_ends_of_episodes(memory, remembers):
    """The third episode, after first episodes that differ in all they hold."""
    env = trials.board()
    network = trials.make(env, config(memory))
    a, b = (trials.play(env, network, seed=seed)[0] for seed in (1, 2))
    past = (torch.arange(18) < 6)[None]
    changed = a.zip_map(lambda x: torch.where(past if x[0].dim() == 2 else past.unsqueeze(-1), x[1], x[0]), [a, b])
    last = trials.difference(network, a.inputs, changed.inputs)[:, 12:]
    assert bool((last > 1e-4).any()) == remembers


# --- Parts -------------------------------------------------------------------------------------------------------


def test_a_layer_with_fast_weights_is_a_layer_with_other_weights():
    """What is added is linear in the query: U M q(x), the product with a matrix that the trial has written."""
    env = trials.plane()
    network = trials.make(env, config("delta"))
    recall, hidden = network.recall("layer"), torch.randn(1, 1, 12)
    state = recall.memory.start(1)
    entry = recall.entries(torch.randn(1, 1, 12), hidden, torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1))
    for weights in (state, recall.memory.write(state, entry)):
        query = torch.randn(1, 2, 4)
        read, negative = (recall.memory.read(weights, x)[0] for x in (query, -query))
        torch.testing.assert_close(read, -negative)


def test_at_first_a_policy_is_an_ordinary_one_and_what_it_remembers_reaches_the_layer():
    env = trials.board()
    network = env_network = config("delta").make(env, 3, Generator().manual_seed(0))
    rows, _ = trials.play(env, env_network)
    outputs = network(rows.inputs)
    assert network.distribution(outputs).entropy().mean() > 0.95 * math.log(env.action_space.n)
    x, past = network.embed(rows.inputs, network.all_steps(rows.inputs))
    entries, recall = network.entries(past, rows.inputs)["layer"], network.recall("layer")
    code = recall.memory.sequence(recall.queries(x, past.embedding), entries)[0].flatten(-3)
    evidence = x.new_zeros(*x.shape[:-1], 2)
    own, other = (network.torso(x, c, evidence)[:, -1] for c in (code, code.roll(1, 0)))
    assert (own - other).std() > 0.1 * own.std(), "another task's fast weights should move the layer"


@pytest.mark.parametrize("where", ENVS)
def test_meta_information_is_the_gradient_of_the_actor_critic_loss(where):
    """By autograd: of log π(a) · δ and of -½ (target - v)², at the outputs of the slow network."""
    env = ENVS[where]()
    network, seen = trials.make(env, config(meta_information="gradient")), []
    rows, _ = trials.play(env, network)
    network.embed_entry.register_forward_hook(lambda layer, args, result: seen.append(args[-1]))
    inputs = rows.inputs
    with torch.no_grad():
        network(inputs)
        _, past = network.embed(inputs, network.all_steps(inputs))
    policy = past.policy[:, :-1].clone().requires_grad_()
    value = past.value[:, :-1].clone().requires_grad_()
    left = network.num_steps - torch.arange(network.num_steps)  # a value is the mean reward of the steps left
    target = network.normalizer.reward(rows.reward[:, :-1]) + past.mask[:, 1:] * left[1:] * past.value[:, 1:]
    error = (target - left[:-1] * past.value[:, :-1]).detach()
    log_prob = network.head(policy, network.free.detach().unsqueeze(0)).log_prob(rows.action[:, :-1])
    gain = (log_prob * error).sum() + (error * value).sum()
    gradient = torch.cat(
        [x if x.dim() == 3 else x.unsqueeze(-1) for x in torch.autograd.grad(gain, (policy, value))], -1
    )
    gradient, found = (x[rows.mask[:, :-1] > 0] for x in (gradient, seen[0][..., -2 * gradient.shape[-1] :]))
    torch.testing.assert_close(found, torch.cat(preprocessed(gradient), -1), rtol=1e-4, atol=1e-5)
    assert gradient.abs().mean() > 0.01


@given(st.floats(-3, 3), st.integers(0, 16), st.booleans())
def test_a_value_that_is_right_has_no_td_error(mean, t, within):
    """A value is the mean reward of the steps that remain: if each brings just that, the reward was foreseen."""
    network = trials.make(trials.plane(), config())
    value, left = torch.full((4,), mean), torch.full((4,), float(network.num_steps - t))
    reward = mean if within else mean * float(left[0])  # or the episode is the last, ends here and brings all at once
    slow = SlowOutputs(torch.zeros(4, 2), value, left, torch.ones(4))
    after = dataclasses.replace(slow, remaining=left - 1, mask=torch.full((4,), float(within)))
    normalizer = network.normalizer
    raw = normalizer.mean[-1] + normalizer.reward_scale * torch.full((4,), reward)
    first = torch.zeros(4, dtype=torch.bool)
    inputs = StepInput(torch.zeros(4, 2), torch.ones(4, 2), raw, first, torch.ones(4))
    error = network.output_gradient(slow, after, inputs)[..., -1]
    torch.testing.assert_close(error, torch.zeros(4), rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("memory", ["full", "linear", "delta", "gated-delta"])
def test_at_first_the_keys_of_states_can_be_told_apart(memory):
    """Ten states: the effective rank of their keys (Roy & Vetterli 2007) is 1 where a memory cannot address them."""
    env = envs.make("tabular-mdp")
    recall = (network := MetaNetConfig(memory=memory).make(env, 2, Generator().manual_seed(0))).recall("actions")
    key = recall.key(network.embed_obs(torch.eye(10))).unflatten(-1, (recall.shape.num_heads, -1))[:, 0]
    key = (recall.memory.unit if memory.endswith("delta") else recall.memory.features)(key)
    share = torch.linalg.svdvals(key).square()
    share = share / share.sum()
    assert torch.exp(-(share * share.log()).sum()) > 2
    cosine = functional.normalize(key, dim=-1) @ functional.normalize(key, dim=-1).T
    assert cosine[~torch.eye(10, dtype=torch.bool)].max() < 0.97


@pytest.mark.parametrize("where", ENVS)
def test_nothing_learns_through_the_loss_gradient(where):
    """What is written depends on the outputs of the slow weights, and its derivative leaves them out."""
    network = trials.make(ENVS[where](), config(meta_information="gradient"))
    rows, _ = trials.play(ENVS[where](), network)

    def written():
        _, past = network.embed(rows.inputs, network.all_steps(rows.inputs))
        return network.entries(past, rows.inputs)["layer"].value

    before = written()
    before.square().sum().backward()
    outputs = [*network.policy_out.parameters(), *network.value_out.parameters()]
    assert all(p.grad is None or not p.grad.any() for p in outputs)
    with torch.no_grad():
        network.value_out.slow.weight.add_(1.0)
    assert (written() - before).abs().max() > 1e-3


@pytest.mark.parametrize("memory", MEMORIES)
def test_every_parameter_learns(memory):
    env = trials.board()
    network = trials.make(env, config(memory))
    rows, _ = trials.play(env, network)
    found = network(rows.inputs)
    (found.action.square().sum() + found.value.square().sum()).backward()
    still = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    assert still <= {"free"}


def test_a_memory_per_action_needs_discrete_actions():
    assert set(trials.make(trials.board(), config()).recalls) == {"layer", "output", "actions"}
    assert set(trials.make(trials.plane(), config()).recalls) == {"layer", "output"}
    assert set(trials.make(trials.board(), config(action_heads=0)).recalls) == {"layer", "output"}
    assert set(trials.make(trials.board(), config(output_memory=False)).recalls) == {"layer", "actions"}
    assert len(trials.make(trials.board(), config("none")).recalls) == 0
    with pytest.raises(InputError, match="action_heads"):
        trials.make(trials.plane(), config(action_heads=2))


def test_a_trial_longer_than_the_memory_allows_is_refused():
    network = trials.make(trials.board(), config("full"))
    rows, _ = trials.play(trials.board(), network)
    longer = type(rows.inputs).cat([rows.inputs, rows.inputs], 1)
    with pytest.raises(InputError, match=f"longer than the {network.num_steps} steps that this policy was made for"):
        network(longer)
    with pytest.raises(InputError, match="at most 4,000 steps, and these trials have 18,000; choose the memory linear"):
        trials.make(trials.arms(pulls=6000), config("full"))


def test_an_action_reads_its_own_entries():
    """The tied memory of action 2 holds what was done after steps with action 2."""
    env = trials.arms(pulls=12)
    network = trials.make(env, config("full", action_heads=1), 1)
    rows, _ = trials.play(env, network, 1)
    with torch.no_grad():
        x, past = network.embed(rows.inputs, network.all_steps(rows.inputs))
        tied, recall = network.entries(past, rows.inputs)["actions"], network.recall("actions")
        _, evidence = recall.memory.sequence(recall.queries(x, past.embedding), tied)
    assert torch.equal(tied.kind[:, :-1], rows.action[:, :-1])
    pulled = functional.one_hot(rows.action, 3).cumsum(1) - functional.one_hot(rows.action, 3)
    assert torch.equal(evidence[..., 0] > 1e-9, pulled > 0)


def test_attention_tells_the_share_of_each_earlier_step():
    env = trials.board()
    rows = None
    for memory in MEMORIES[:-1]:
        network = trials.make(env, config(memory))
        rows = trials.play(env, network)[0] if rows is None else rows
        share = network.attention(rows.inputs)
        assert share.shape == (6, 18, 18)
        assert torch.equal(share, share.tril(-1)) and (share.sum(-1) < 1).all()
        assert (share[:, :, :][(rows.mask == 0)[:, None].expand_as(share)] == 0).all()
        assert share[:, 17].sum(-1).min() > 0.05
    even = trials.make(env, config("full", attention="uniform"))
    share = even.attention(rows.inputs)[0, 17]
    used = share[share > 0]
    assert len(used) == rows.mask[0, :17].sum()
    torch.testing.assert_close(used, used[:1].expand_as(used))
    assert trials.make(env, config("none")).attention(rows.inputs) is None


# --- Bad input ---------------------------------------------------------------------------------------------------

NONSENSE = {
    "memory": ("ful", "Unknown memory 'ful'. Did you mean 'full'?"),
    "weights": ("slow", "Unknown weights 'slow'."),
    "keys": ("transitions", "Did you mean 'transition'?"),
    "attention": ("unifrom", "Unknown attention 'unifrom'. Did you mean 'uniform'?"),
    "meta_information": ("gradients", "Did you mean 'gradient'?"),
    "hidden_size": (0, "hidden_size must be at least 1"),
    "num_heads": (0, "num_heads must be at least 1"),
    "key_size": (-1, "key_size must be at least 1"),
    "code_size": (0, "code_size must be at least 1"),
    "action_units": (0, "action_units must be at least 1"),
    "num_slots": (0, "num_slots must be at least 1"),
    "ring_size": (0, "ring_size must be at least 1"),
    "action_heads": (-1, "action_heads must be at least 0"),
    "init_std": (0.0, "init_std must be above 0"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_refused_in_one_line(name, sentence):
    value, words = NONSENSE[name]
    with pytest.raises(InputError) as error:
        MetaNetConfig(**{name: value})
    assert words in sentence(error)
