"""A policy with a memory of fast weights (after Munkhdalai & Yu 2017, Meta Networks, adapted to trials of RL).

Slow weights W map the inputs of a step to an action. After each step an entry is written: a key and a value, both
computed from the whole transition and its meta-information, the gradient of the actor-critic loss at the outputs of
the slow weights alone. The memory M of a layer associates keys with values, and the layer is augmented with it,

    y = φ(W x) + U M q(x)

where q is a projection of the layer's own input: U M q are the fast weights of the layer. In Meta Networks fast weights
come from the loss gradient of a layer, an outer product of error and input; here the error and the input are what slow
weights have learned to write as value and key, and the delta rule adds their outer product (Schlag et al. 2021).

For discrete actions there is another memory whose entries are read separately for each action: an action's own code
gives the fast weights of a layer that scores that action, with slow weights that all actions share.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional

from envs.core import Env
from envs.errors import require
from envs.fields import PositiveFloat
from envs.kinds import in_words
from envs.structs import Struct
from metarl.backend.products import Linear
from metarl.policies.fast_weights import Embedding, FastLayer, Recall, preprocessed, products
from metarl.policies.memory import MEMORIES, Entries, Memory, MemoryShape
from metarl.policies.mlp import MOST_UNITS, NumUnits, StepInput
from metarl.policies.recurrent import MemoryConfig, Outputs, SlowOutputs, TrialNetwork

MOST_STEPS = 4000
"""Longest trial for which attention over all pairs of steps is computed: 64 MB per trial and head in float32."""


@dataclass(frozen=True)
class MetaNetConfig(MemoryConfig):
    """A memory policy."""

    memory: Literal["delta", "gated-delta", "linear", "full", "ring", "none"] = "delta"
    """delta: fast weights that learn by the delta rule; gated-delta: the same, and they forget; linear: linear
    attention; all three of constant size. full: attention over all steps of the trial; ring: over the latest ring_size;
    none: no memory."""
    weights: Literal["fast", "readout"] = "fast"
    """fast: what the memory gives is added to the output of a layer; readout: it is one of the layer's inputs."""
    keys: Literal["transition", "observation"] = "transition"
    """What keys are made from: the whole transition, or the observation alone; queries then come from a layer's input,
    or from the observation."""
    output_memory: bool = True
    """Has the output layer a memory, too?"""
    positions: bool = False
    """Do layers and entries see sines and cosines of the step's number, so that keys can say when?"""
    attention: Literal["learned", "uniform"] = "learned"
    """uniform: every entry has the same weight, whatever its key."""
    meta_information: Literal["gradient", "transition"] = "gradient"
    """What codes are made from: the transition, with or without the loss gradient at the slow weights' outputs."""
    hidden_size: NumUnits = 64
    """Units of the embeddings and of the layers (D)."""
    num_heads: NumUnits = 4
    """Heads of the memory (H)."""
    key_size: NumUnits = 16
    """Size of keys and queries of a head."""
    code_size: NumUnits = 16
    """Size of a code of a head; the rank of fast weights is heads times this."""
    action_heads: Annotated[int, Ge(0), Le(MOST_UNITS)] | None = None
    """Heads of the memory that is read separately for each action; 0: none. By default 1 for discrete actions; for
    continuous ones there can be none."""
    action_units: NumUnits = 32
    """Units of the layer that scores an action."""
    num_slots: NumUnits = 4
    """Learned entries that linear, full and ring add to those of every trial."""
    ring_size: NumUnits = 64
    """Entries that a ring holds."""
    init_std: PositiveFloat = 1.0
    """Initial standard deviation of continuous actions."""

    def build(self, env: Env, num_episodes: int) -> MetaNet:
        return MetaNet(env, num_episodes, self)


@dataclass(frozen=True, eq=False)
class Past(SlowOutputs):
    """What an entry needs of the step that it is about."""

    embedding: Tensor  # [..., D] of the observation


@dataclass(frozen=True, eq=False)
class TrialMemory(Struct):
    """Between two steps of a trial."""

    past: Past  # [B, ...] the step before
    states: dict[str, Any]  # of the memories
    t: Tensor  # [B] int64 steps so far


class MetaNet(TrialNetwork):
    """See the module's text."""

    def __init__(self, env: Env, num_episodes: int, config: MetaNetConfig) -> None:
        super().__init__(env, num_episodes, config.init_std)
        c, d, actions = config, config.hidden_size, self.action_size
        self.config, self.remembers = config, config.memory != "none"
        others = f"those of {type(env).__name__} are {in_words(env.action_space)}"
        require(
            self.discrete or not c.action_heads,
            f"action_heads={c.action_heads} needs discrete actions, and {others}; leave action_heads out.",
        )
        pairs = c.memory != "none" and MEMORIES[c.memory].pairs
        require(
            not pairs or self.num_steps <= MOST_STEPS,
            f"A {c.memory} memory learns from all pairs of a trial's steps, so from at most {MOST_STEPS:,} steps, and "
            f"these trials have {self.num_steps:,}; choose the memory linear or delta.",
        )
        self.num_positions = 2 * math.ceil(math.log2(self.num_steps)) if c.positions else 0
        self.embed_obs = Embedding([self.obs_size], d)
        self.embed_step = nn.Sequential(Linear(self.num_step_features + self.num_positions, d), nn.SiLU())
        self.recalls = nn.ModuleDict()
        self.num_heads = c.num_heads if self.remembers else 0
        if self.remembers:
            meta_size = (
                actions + 2 + self.num_positions + (2 * (actions + 1) if c.meta_information == "gradient" else 0)
            )
            self.embed_entry = Embedding([d, d, meta_size], d)
            by_observation = c.keys == "observation"
            self.recalls["layer"] = Recall(self.new_memory(c.num_heads), d, 2 * d, by_observation)
            if c.output_memory:
                self.recalls["output"] = Recall(self.new_memory(c.num_heads), d, d, by_observation)
            action_heads = (1 if self.discrete else 0) if c.action_heads is None else c.action_heads
            if action_heads:
                self.recalls["actions"] = Recall(self.new_memory(action_heads, actions), d, d, by_observation=True)
                self.score = FastLayer(d, c.action_units, self.code_size("actions"), c.weights, nn.SiLU())
                self.score_evidence = Linear(action_heads, c.action_units)
                self.score_out = nn.Sequential(
                    nn.SiLU(), Linear(c.action_units, c.action_units), nn.SiLU(), Linear(c.action_units, 1)
                )
        self.layer = FastLayer(2 * d + self.num_heads, d, self.code_size("layer"), c.weights, nn.SiLU())
        self.hidden = nn.Sequential(Linear(d, d), nn.SiLU())
        self.policy_out = FastLayer(d, actions, self.code_size("output"), c.weights, nn.Identity())
        self.value_out = FastLayer(d, 1, self.code_size("output"), c.weights, nn.Identity())
        for out in (self.policy_out, self.value_out):
            for layer in (out.slow, out.out):
                if layer is not None:
                    nn.init.orthogonal_(layer.weight, 0.01)
            nn.init.zeros_(out.slow.bias)

    def new_memory(self, num_heads: int, num_classes: int = 1) -> Memory:
        c = self.config
        return MEMORIES[c.memory](
            MemoryShape(
                num_heads, c.key_size, c.code_size, num_classes, c.num_slots, c.ring_size, c.attention == "uniform"
            )
        )

    def recall(self, name: str) -> Recall:
        recall = self.recalls[name]
        assert isinstance(recall, Recall)
        return recall

    def code_size(self, name: str) -> int:
        return self.recall(name).code_size if name in self.recalls else 0

    def embed(self, inputs: StepInput, t: Tensor) -> tuple[Tensor, Past]:
        """The inputs of a step [..., 2 D], and the outputs of the slow weights alone."""
        embedding = self.embed_obs(self.normalized_obs(inputs))
        features = self.step_features(inputs, t)
        if self.num_positions:
            features = torch.cat([features, self.position(t)], -1)
        x = torch.cat([embedding, self.embed_step(features)], -1)
        y = self.layer.alone(x)
        y = self.hidden(y) + y
        outputs = self.policy_out.alone(y), self.value_out.alone(y).squeeze(-1)
        return x, Past(*outputs, (self.num_steps - t).to(x.dtype), inputs.mask, embedding)

    def position(self, t: Tensor) -> Tensor:
        """Sine and cosine of step numbers at periods of 2, 4, 8, ... steps: [...] -> [..., P] (Vaswani et al. 2017)."""
        periods = 2.0 ** torch.arange(1, self.num_positions // 2 + 1, device=t.device)
        angle = 2 * math.pi * t.unsqueeze(-1) / periods
        return torch.cat([angle.sin(), angle.cos()], -1)

    def torso(self, x: Tensor, code: Tensor, evidence: Tensor) -> Tensor:
        """x [..., 2 D], retrieved code [..., R] and evidence [..., H] -> [..., D]."""
        y = self.layer(torch.cat([x, evidence], -1), code)
        return self.hidden(y) + y

    def entry(self, past: Past, now: Past, inputs: StepInput) -> tuple[Tensor, Tensor]:
        """Hidden vector [..., D] of the entry about the step `past`, when the one after it is seen; and its class."""
        action, reward = self.one_hot(inputs.prev_action), self.normalizer.reward(inputs.prev_reward)
        meta = [action, reward.unsqueeze(-1), inputs.first.float().unsqueeze(-1)]
        if self.num_positions:
            meta.append(self.position(self.num_steps - past.remaining))
        if self.config.meta_information == "gradient":
            meta += preprocessed(self.output_gradient(past, now, inputs))
        kind = inputs.prev_action if self.discrete else torch.zeros_like(inputs.prev_reward, dtype=torch.int64)
        return self.embed_entry(past.embedding, now.embedding, torch.cat(meta, -1)), kind

    def decide(self, x: Tensor, embedding: Tensor, retrieve: Callable[[str, Tensor], tuple[Tensor, Tensor]]) -> Outputs:
        """Outputs for x [..., 2 D]; `retrieve` gives readout [..., C, H, V] and evidence [..., C, H] for a query."""

        def read(name: str, y: Tensor) -> tuple[Tensor, Tensor]:
            if name not in self.recalls:
                return y[..., :0], y[..., :0]
            readout, evidence = retrieve(name, self.recall(name).queries(y, embedding))
            return (readout, evidence) if name == "actions" else (readout.flatten(-3), evidence.squeeze(-2))

        y = self.torso(x, *read("layer", x))
        code, _ = read("output", y)
        logits = self.policy_out(y, code)
        if "actions" in self.recalls:
            readout, evidence = read("actions", y)
            scores = self.score(y.unsqueeze(-2), readout.flatten(-2)) + self.score_evidence(evidence)
            logits = logits + self.score_out(scores).squeeze(-1)
        return Outputs(logits, self.value_out(y, code).squeeze(-1))

    def entries(self, past: Past, inputs: StepInput) -> dict[str, Entries]:
        """What whole trials write into each memory. The entry of the last step is never read and left blank."""
        hidden, kind = self.entry(past[:, :-1], past[:, 1:], inputs[:, 1:])
        hidden, kind = functional.pad(hidden, (0, 0, 0, 1)), functional.pad(kind, (0, 1))
        return self.written(past.embedding, hidden, kind, past.mask)

    def written(self, embedding: Tensor, hidden: Tensor, kind: Tensor, valid: Tensor) -> dict[str, Entries]:
        """The entries of each memory, of steps [B, T], from one product of the hidden vectors."""
        parts = products([layer for _, recall in self._recalls() for layer in recall.writers], hidden)
        found = {}
        for name, recall in self._recalls():
            own, parts = parts[: len(recall.writers)], parts[len(recall.writers) :]
            found[name] = recall.entries_of(embedding, own, kind, valid)
        return found

    def forward(self, inputs: StepInput) -> Outputs:
        x, past = self.embed(inputs, self.all_steps(inputs))
        entries = self.entries(past, inputs) if self.recalls else {}
        outputs = self.decide(x, past.embedding, lambda name, q: self.recall(name).memory.sequence(q, entries[name]))
        return dataclasses.replace(outputs, slow=Outputs(past.policy, past.value))

    def start(self, num_lanes: int) -> TrialMemory:
        """The step before the first one did not happen: its mask is 0, so that no entry is written about it."""
        blank, actions, size = self.free.new_zeros(num_lanes), self.action_size, self.config.hidden_size
        past = Past(blank.new_zeros(num_lanes, actions), blank, blank, blank, blank.new_zeros(num_lanes, size))
        states = {name: recall.memory.start(num_lanes) for name, recall in self._recalls()}
        return TrialMemory(past, states, blank.long())

    def step(self, inputs: StepInput, memory: TrialMemory | None) -> tuple[Outputs, TrialMemory]:
        t = torch.zeros_like(inputs.first, dtype=torch.int64) if memory is None else memory.t
        x, past = self.embed(inputs, t)
        states: dict[str, Any] = {}
        if memory is None:
            states = {name: recall.memory.start(len(inputs)) for name, recall in self._recalls()}
        elif self.recalls:
            hidden, kind = (column.unsqueeze(1) for column in self.entry(memory.past, past, inputs))
            embedding, valid = memory.past.embedding.unsqueeze(1), memory.past.mask.unsqueeze(1)
            for name, entry in self.written(embedding, hidden, kind, valid).items():
                states[name] = self.recall(name).memory.write(memory.states[name], entry)
        outputs = self.decide(x, past.embedding, lambda name, q: self.recall(name).memory.read(states[name], q))
        return outputs, TrialMemory(past, states, t + 1)

    def _recalls(self) -> list[tuple[str, Recall]]:
        return [(name, self.recall(name)) for name in self.recalls]

    @torch.no_grad()
    def attention(self, inputs: StepInput) -> Tensor | None:
        """Attention [B, T, T] of each step to each earlier step, a mean over heads; None without memory."""
        if not self.recalls:
            return None
        x, past = self.embed(inputs, self.all_steps(inputs))
        recall, entries = self.recall("layer"), self.entries(past, inputs)["layer"]
        return recall.memory.attention(recall.queries(x, past.embedding), entries).mean(1)
