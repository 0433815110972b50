"""A policy with a memory of fast weights (after Munkhdalai & Yu 2017, Meta Networks, adapted to trials of RL).

Slow weights W map the inputs of a step to an action. After each step an entry is written: its key is the embedding of
the observation, its value a code generated from the transition and its meta-information, the gradient of the
actor-critic loss at the outputs of the slow weights alone. At later steps the codes are retrieved by attention with the
embedding of the current observation, and a layer is augmented with the fast weights that a code c represents,

    y = φ(W x) + φ(U diag(c) V x)

where both are summed after the nonlinearity, as in eq. 10-12 of the paper. In the paper there are as many fast weights
as slow ones; here they have the rank of the code, since one set is written at each step of a trial.

For discrete actions there is a second memory whose entries are read separately for each action: an action's own code
gives the fast weights of a layer that scores that action, with slow weights that all actions share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional

from envs.core import Env
from envs.errors import require
from envs.fields import PositiveFloat
from envs.structs import Struct
from metarl.policies.memory import MEMORIES, Entries
from metarl.policies.mlp import MOST_UNITS, NumUnits, StepInput
from metarl.policies.recurrent import MemoryConfig, Outputs, TrialNetwork

MOST_STEPS = 4000
"""Longest trial for which attention over all pairs of steps is computed: 64 MB per trial and head in float32."""


@dataclass(frozen=True)
class MetaNetConfig(MemoryConfig):
    """A memory policy."""

    memory: Literal["full", "ring", "linear", "delta", "none"] = "linear"
    """full: attention over all steps of the trial; ring: over the latest ring_size; linear, delta: a state of constant
    size, as a sum or by the delta rule; none: no memory."""
    weights: Literal["slow+fast", "fast", "readout"] = "slow+fast"
    """slow+fast: layers augmented with retrieved fast weights; fast: these alone; readout: slow weights with what was
    retrieved as an input."""
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
    """Learned entries that are added to those of every trial; a ring's capacity is ring_size."""
    ring_size: NumUnits = 64
    """Entries that a ring holds."""
    init_std: PositiveFloat = 1.0
    """Initial standard deviation of continuous actions."""

    def build(self, env: Env, num_episodes: int) -> MetaNet:
        return MetaNet(env, num_episodes, self)


@dataclass(frozen=True, eq=False)
class Past(Struct):
    """What an entry needs of the step that it is about."""

    embedding: Tensor  # [..., D] of the observation
    policy: Tensor  # [..., A] outputs of the slow weights alone
    value: Tensor  # [...]
    mask: Tensor  # [...] float


@dataclass(frozen=True, eq=False)
class TrialMemory(Struct):
    """Between two steps of a trial."""

    past: Past  # [B, ...] the step before
    states: tuple[Any, ...]  # of the memories
    t: Tensor  # [B] int64 steps so far


class FastLayer(nn.Module):
    """y = φ(W x) + φ(U diag(c) V x) for a retrieved code c; the variants are those of `MetaNetConfig.weights`.

    With codes of size 0 it is only the slow layer.
    """

    def __init__(self, num_inputs: int, num_outputs: int, code_size: int, weights: str) -> None:
        super().__init__()
        weights = weights if code_size else "readout"
        readout = code_size if weights == "readout" else 0
        self.slow = nn.Linear(num_inputs + readout, num_outputs) if weights != "fast" else None
        self.into = nn.Linear(num_inputs, code_size) if weights != "readout" else None  # V
        self.out = nn.Linear(code_size, num_outputs) if weights != "readout" else None  # U

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """x [..., D], code [..., R] -> [..., D']."""
        if self.into is None or self.out is None:
            assert self.slow is not None
            return functional.silu(self.slow(torch.cat([x.expand(*code.shape[:-1], -1), code], -1)))
        fast = functional.silu(self.out(code * self.into(x)))
        return fast if self.slow is None else functional.silu(self.slow(x)) + fast


class Recall(nn.Module):
    """A memory with what makes keys, queries and codes from embeddings and entries."""

    def __init__(self, config: MetaNetConfig, num_heads: int, num_classes: int) -> None:
        super().__init__()
        c, d = config, config.hidden_size
        self.num_heads, self.num_classes, self.code_size = num_heads, num_classes, num_heads * c.code_size
        self.memory = MEMORIES[c.memory](
            num_heads, c.key_size, c.code_size, num_classes, c.num_slots, c.ring_size, c.attention == "uniform"
        )
        self.key, self.query = nn.Linear(d, num_heads * c.key_size), nn.Linear(d, num_heads * c.key_size)
        self.code = nn.Linear(d, self.code_size)

    def entries(self, embedding: Tensor, hidden: Tensor, kind: Tensor, valid: Tensor) -> Entries:
        """Of steps [B, T]."""
        kind = kind if self.num_classes > 1 else torch.zeros_like(kind)
        return Entries(self._heads(self.key(embedding)), self._heads(self.code(hidden)), kind, valid)

    def queries(self, embedding: Tensor) -> Tensor:
        return self._heads(self.query(embedding))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1))


class MetaNet(TrialNetwork):
    """See the module's text."""

    def __init__(self, env: Env, num_episodes: int, config: MetaNetConfig) -> None:
        super().__init__(env, num_episodes, config.init_std)
        c, d, actions = config, config.hidden_size, self.action_size
        self.config, self.remembers = config, config.memory != "none"
        require(
            self.discrete or not c.action_heads, f"action_heads={c.action_heads} needs discrete actions, and "
            f"those of {type(env).__name__} are continuous; leave action_heads out.",
        )  # fmt: skip
        pairs = c.memory != "none" and MEMORIES[c.memory].pairs
        require(
            not pairs or self.num_steps <= MOST_STEPS,
            f"A {c.memory} memory learns from all pairs of a trial's steps, so from at most {MOST_STEPS:,} steps, and "
            f"these trials have {self.num_steps:,}; choose the memory linear or delta.",
        )
        action_heads = (1 if self.discrete else 0) if c.action_heads is None else c.action_heads
        self.embed_obs = nn.Sequential(nn.Linear(self.obs_size, d), nn.SiLU(), nn.Linear(d, d), nn.SiLU())
        self.embed_step = nn.Sequential(nn.Linear(self.num_step_features, d), nn.SiLU())
        self.recalls = nn.ModuleList()
        self.num_heads, self.code_size = (0, 0) if c.memory == "none" else (c.num_heads, c.num_heads * c.code_size)
        self.layer = FastLayer(2 * d + self.num_heads, d, self.code_size, c.weights)
        if c.memory != "none":
            meta_size = actions + 2 + (actions + 1 if c.meta_information == "gradient" else 0)
            self.entry_obs, self.entry_next = nn.Linear(d, d), nn.Linear(d, d, bias=False)
            self.entry_meta = nn.Linear(meta_size, d, bias=False)
            self.recalls.append(Recall(c, c.num_heads, 1))
            if action_heads:
                tied = Recall(c, action_heads, actions)
                self.score = FastLayer(d, c.action_units, tied.code_size, c.weights)
                self.score_evidence = nn.Linear(action_heads, c.action_units)
                self.score_out = nn.Sequential(
                    nn.SiLU(), nn.Linear(c.action_units, c.action_units), nn.SiLU(), nn.Linear(c.action_units, 1)
                )
                self.recalls.append(tied)
        self.hidden = nn.Sequential(nn.Linear(d, d), nn.SiLU())
        self.policy_out, self.value_out = nn.Linear(d, actions), nn.Linear(d, 1)
        for layer in (self.policy_out, self.value_out):
            nn.init.orthogonal_(layer.weight, 0.01)
            nn.init.zeros_(layer.bias)

    def embed(self, inputs: StepInput, t: Tensor) -> tuple[Tensor, Past]:
        """The inputs of a step [..., 2 D], and the outputs of the slow weights alone."""
        embedding = self.embed_obs(self.normalized_obs(inputs))
        x = torch.cat([embedding, self.embed_step(self.step_features(inputs, t))], -1)
        y = self.torso(x, x.new_zeros(*x.shape[:-1], self.code_size), x.new_zeros(*x.shape[:-1], self.num_heads))
        return x, Past(embedding, self.policy_out(y), self.value_out(y).squeeze(-1), inputs.mask)

    def torso(self, x: Tensor, code: Tensor, evidence: Tensor) -> Tensor:
        """x [..., 2 D], retrieved code [..., R] and evidence [..., H] -> [..., D]."""
        y = self.layer(torch.cat([x, evidence], -1), code)
        return self.hidden(y) + y

    def entry(self, past: Past, now: Past, inputs: StepInput) -> tuple[Tensor, Tensor]:
        """Hidden vector [..., D] of the entry about the step `past`, when the one after it is seen; and its class."""
        action, reward = self.one_hot(inputs.prev_action), self.normalizer.reward(inputs.prev_reward)
        meta = [action, reward.unsqueeze(-1), inputs.first.float().unsqueeze(-1)]
        if self.config.meta_information == "gradient":
            error = reward + now.mask * now.value - past.value  # the TD error of the mean reward, in its deviations
            if self.discrete:
                score = action - past.policy.softmax(-1)
            else:
                score = (inputs.prev_action - past.policy) * torch.exp(-2 * self.free)
            gradient = torch.cat([score * error.unsqueeze(-1), error.unsqueeze(-1)], -1)
            meta.append(gradient.sign() * gradient.abs().log1p())
        hidden = self.entry_obs(past.embedding) + self.entry_next(now.embedding) + self.entry_meta(torch.cat(meta, -1))
        kind = inputs.prev_action if self.discrete else torch.zeros_like(inputs.prev_reward, dtype=torch.int64)
        return functional.silu(hidden), kind

    def decide(self, x: Tensor, recalled: list[tuple[Tensor, Tensor]]) -> Outputs:
        """Outputs for x [..., 2 D] and what each memory gave: readout [..., C, H, V] and evidence [..., C, H]."""
        if recalled:
            readout, evidence = recalled[0]
            y = self.torso(x, readout.flatten(-3), evidence.squeeze(-2))
        else:
            y = self.torso(x, x[..., :0], x[..., :0])
        logits = self.policy_out(y)
        if len(recalled) == 2:
            readout, evidence = recalled[1]
            scores = self.score(y.unsqueeze(-2), readout.flatten(-2)) + self.score_evidence(evidence)
            logits = logits + self.score_out(scores).squeeze(-1)
        return Outputs(logits, self.value_out(y).squeeze(-1))

    def entries(self, past: Past, inputs: StepInput) -> list[Entries]:
        """What whole trials write into each memory. The entry of the last step is never read and left blank."""
        hidden, kind = self.entry(past[:, :-1], past[:, 1:], inputs[:, 1:])
        hidden, kind = functional.pad(hidden, (0, 0, 0, 1)), functional.pad(kind, (0, 1))
        return [recall.entries(past.embedding, hidden, kind, past.mask) for recall in self._recalls()]

    def forward(self, inputs: StepInput) -> Outputs:
        x, past = self.embed(inputs, self.all_steps(inputs))
        if not self.recalls:
            return self.decide(x, [])
        pairs = zip(self._recalls(), self.entries(past, inputs), strict=True)
        return self.decide(x, [r.memory.sequence(r.queries(past.embedding), entries) for r, entries in pairs])

    def step(self, inputs: StepInput, memory: TrialMemory | None) -> tuple[Outputs, TrialMemory]:
        t = torch.zeros_like(inputs.first, dtype=torch.int64) if memory is None else memory.t
        x, past = self.embed(inputs, t)
        if memory is None:
            states = tuple(recall.memory.start(len(inputs)) for recall in self._recalls())
        elif self.recalls:
            hidden, kind = (column.unsqueeze(1) for column in self.entry(memory.past, past, inputs))
            embedding, valid = memory.past.embedding.unsqueeze(1), memory.past.mask.unsqueeze(1)
            states = tuple(
                recall.memory.write(state, recall.entries(embedding, hidden, kind, valid))
                for recall, state in zip(self._recalls(), memory.states, strict=True)
            )
        else:
            states = ()
        pairs = zip(self._recalls(), states, strict=True)
        recalled = [recall.memory.read(state, recall.queries(past.embedding)) for recall, state in pairs]
        return self.decide(x, recalled), TrialMemory(past, states, t + 1)

    @torch.no_grad()
    def attention(self, inputs: StepInput) -> Tensor | None:
        """Attention [B, T, T] of each step to each earlier step, a mean over heads; None without memory."""
        if not self.recalls:
            return None
        _, past = self.embed(inputs, self.all_steps(inputs))
        recall, entries = self._recalls()[0], self.entries(past, inputs)[0]
        return recall.memory.attention(recall.queries(past.embedding), entries).mean(1)

    def _recalls(self) -> list[Recall]:
        return [recall for recall in self.recalls if isinstance(recall, Recall)]
