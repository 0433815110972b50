"""Meta Networks as published (Munkhdalai & Yu 2017), as far as a trial allows: an example is a step of the trial.

A slow network of two hidden layers maps the inputs of a step to the policy and the value. After each step the gradient
of the actor-critic loss at the slow network alone is known in closed form: for each layer the outer product of an
error and the layer's input. A learned generator, the same for all coordinates, turns the preprocessed gradient into
fast weights of that layer. It has a factor for the error and one for the input, m and n, so that a step keeps two
vectors for each layer and not a matrix. A later step t attends to the steps i before it by the cosine of their keys:

    W*_t = Σ_i a(t, i) m(error_i) ⊗ n(input_i),        y = φ(W x + b) + φ(W*_t x)

in both hidden layers; at the output, before the softmax, y = W x + b + W*_t x.

What differs from the paper: keys come from slow weights alone, since a trial has no labels from which the key network
could have a loss and fast weights; an empty entry with cosine 0 shares the attention, since a trial begins with
nothing; and the cosine is multiplied by a learned number. The slow network is trained at its own outputs, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from envs.core import Env
from envs.errors import require
from envs.fields import PositiveFloat
from envs.structs import Struct
from metarl.policies.fast_weights import preprocessed
from metarl.policies.memory.softmax import MOST_SHARP
from metarl.policies.metanet import MOST_STEPS
from metarl.policies.mlp import NumUnits, StepInput
from metarl.policies.recurrent import MemoryConfig, Outputs, SlowOutputs, TrialNetwork


@dataclass(frozen=True)
class MetaNetworksConfig(MemoryConfig):
    """Meta Networks as published."""

    hidden_size: NumUnits = 64
    """Units of the two hidden layers, and of the one of the key network."""
    key_size: NumUnits = 16
    """Size of a key."""
    generator_units: NumUnits = 20
    """Hidden units of the generators of fast weights."""
    init_std: PositiveFloat = 1.0
    """Initial standard deviation of continuous actions."""

    def build(self, env: Env, num_episodes: int) -> MetaNetworks:
        return MetaNetworks(env, num_episodes, self)


@dataclass(frozen=True, eq=False)
class SlowPass(SlowOutputs):
    """What the slow network computes for a step."""

    inputs: Tensor  # [..., I] those of all layers, one after the other


@dataclass(frozen=True, eq=False)
class WeightPairs(Struct):
    """An entry for each step: fast weights of all layers as pairs of vectors, and the key."""

    key: Tensor  # [B, T, K] of length 1
    error: Tensor  # [B, T, O] m(error) of all layers, one after the other
    input: Tensor  # [B, T, I] n(input)
    valid: Tensor  # [B, T] float: 0 for steps that did not happen


@dataclass(frozen=True, eq=False)
class PairsMemory(Struct):
    """Between two steps of a trial."""

    past: SlowPass  # [B, 1, ...] the step before
    key: Tensor  # [B, 1, K] its key
    entries: WeightPairs  # [B, t - 1, ...]
    t: Tensor  # [B, 1] int64 steps so far


class WeightGenerator(nn.Module):
    """One network for all coordinates: their logarithm and sign -> a number, [..., C] -> [..., C]."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(2, units), nn.Linear(units, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.hidden(torch.stack(preprocessed(x), -1)).relu()).squeeze(-1)


class MetaNetworks(TrialNetwork):
    """See the module's text."""

    def __init__(self, env: Env, num_episodes: int, config: MetaNetworksConfig) -> None:
        super().__init__(env, num_episodes, config.init_std)
        require(
            self.num_steps <= MOST_STEPS,
            f"Meta Networks learn from all pairs of a trial's steps, so from at most {MOST_STEPS:,} steps, and these "
            f"trials have {self.num_steps:,}; choose fewer episodes, or metanet.",
        )
        self.key_size, size, num_inputs = config.key_size, config.hidden_size, self.obs_size + self.num_step_features
        self.first, self.second = nn.Linear(num_inputs, size), nn.Linear(size, size)
        self.out = nn.Linear(size, self.action_size + 1)
        nn.init.orthogonal_(self.out.weight, 0.01)
        nn.init.zeros_(self.out.bias)
        self.key = nn.Sequential(nn.Linear(num_inputs, size), nn.ReLU(), nn.Linear(size, config.key_size))
        self.sharpness = nn.Parameter(torch.tensor(-1.4))
        self.of_error, self.of_input = WeightGenerator(config.generator_units), WeightGenerator(config.generator_units)
        with torch.no_grad():  # fast weights are small at first, and the policy an ordinary one
            self.of_error.out.weight.mul_(0.1)
            self.of_error.out.bias.zero_()

    @property
    def layers(self) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        return self.first, self.second, self.out

    def see(self, inputs: StepInput, t: Tensor) -> tuple[Tensor, Tensor, SlowPass]:
        """The inputs of a step [..., D], its key [..., K], and what slow weights alone make of it."""
        x = torch.cat([self.normalized_obs(inputs), self.step_features(inputs, t)], -1)
        h = self.first(x).relu()
        h2 = self.second(h).relu()
        y, remaining = self.out(h2), (self.num_steps - t).to(x.dtype)
        slow = SlowPass(y[..., :-1], y[..., -1], remaining, inputs.mask, torch.cat([x, h, h2], -1))
        return x, functional.normalize(self.key(x), dim=-1), slow

    @torch.no_grad()
    def errors(self, past: SlowPass, now: SlowPass, inputs: StepInput) -> list[Tensor]:
        """Gradients [..., O] of log π(a) δ + v δ at what each layer computes before its nonlinearity.

        Like the inputs of the layers they are data of the generators: nothing learns through them.
        """
        _, h, h2 = past.inputs.split([layer.in_features for layer in self.layers], -1)
        error = self.output_gradient(past, now, inputs)
        second = error @ self.out.weight * (h2 > 0)
        return [second @ self.second.weight * (h > 0), second, error]

    def entries(self, key: Tensor, past: SlowPass, now: SlowPass, inputs: StepInput) -> WeightPairs:
        """About steps `past` [B, T, ...], when those after them are seen."""
        error = torch.cat(self.errors(past, now, inputs), -1)
        return WeightPairs(key, self.of_error(error.detach()), self.of_input(past.inputs.detach()), past.mask)

    def share(self, query: Tensor, entries: WeightPairs) -> Tensor:
        """Attention [B, T', T] of the queries [B, T', K] of steps to the entries of those before each of them.

        The last entry is that of the step before the last query.
        """
        steps, entered = query.shape[1], entries.key.shape[1]
        earlier = torch.ones(steps, entered, dtype=torch.bool, device=query.device).tril(entered - steps)
        sharpness = MOST_SHARP * self.sharpness.sigmoid()
        weight = (sharpness * (query @ entries.key.transpose(1, 2))).exp() * earlier * entries.valid.unsqueeze(1)
        return weight / (1 + weight.sum(-1, keepdim=True))

    def decide(self, x: Tensor, share: Tensor, entries: WeightPairs, slow: SlowPass) -> Outputs:
        """Outputs of slow and fast weights together for inputs x [B, T', D] and attention [B, T', T]."""
        errors = entries.error.split([layer.out_features for layer in self.layers], -1)
        inputs = entries.input.split([layer.in_features for layer in self.layers], -1)
        for layer, error, past in zip(self.layers, errors, inputs, strict=True):
            similarity = x @ past.transpose(1, 2) / math.sqrt(layer.in_features)
            fast = (share * similarity) @ error
            x = layer(x) + fast if layer is self.out else layer(x).relu() + fast.relu()
        return Outputs(x[..., :-1], x[..., -1], slow=Outputs(slow.policy, slow.value))

    def forward(self, inputs: StepInput) -> Outputs:
        x, key, slow = self.see(inputs, self.all_steps(inputs))
        entries = self.entries(key[:, :-1], slow[:, :-1], slow[:, 1:], inputs[:, 1:])
        return self.decide(x, self.share(key, entries), entries, slow)

    def start(self, num_lanes: int) -> PairsMemory:
        """The step before the first one did not happen: its mask is 0, so that nobody reads the entry about it."""
        inputs, outputs = (sum(getattr(x, name) for x in self.layers) for name in ("in_features", "out_features"))

        def zeros(*shape: int) -> Tensor:
            return self.free.new_zeros(num_lanes, *shape)

        past = SlowPass(zeros(1, self.action_size), zeros(1), zeros(1), zeros(1), zeros(1, inputs))
        entries = WeightPairs(zeros(0, self.key_size), zeros(0, outputs), zeros(0, inputs), zeros(0))
        return PairsMemory(past, zeros(1, self.key_size), entries, zeros(1).long())

    def step(self, inputs: StepInput, memory: PairsMemory | None) -> tuple[Outputs, PairsMemory]:
        inputs = inputs.map(lambda x: x.unsqueeze(1))
        t = torch.zeros_like(inputs.first, dtype=torch.int64) if memory is None else memory.t
        x, key, slow = self.see(inputs, t)
        if memory is None:
            entries = self.entries(key[:, :0], slow[:, :0], slow[:, :0], inputs[:, :0])
        else:
            entry = self.entries(memory.key, memory.past, slow, inputs)
            entries = WeightPairs.cat([memory.entries, entry], 1)
        outputs = self.decide(x, self.share(key, entries), entries, slow)
        return outputs.map(lambda x: x.squeeze(1)), PairsMemory(slow, key, entries, t + 1)

    @torch.no_grad()
    def attention(self, inputs: StepInput) -> Tensor:
        _, key, slow = self.see(inputs, self.all_steps(inputs))
        entries = self.entries(key[:, :-1], slow[:, :-1], slow[:, 1:], inputs[:, 1:])
        return functional.pad(self.share(key, entries), (0, 1))  # nobody reads the entry of the last step
