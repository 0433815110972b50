"""A causal transformer that reads a dataset of transitions and a state, and predicts an action (DPT, Lee et al. 2023).

A token is a transition (s, a, r, s'), or a state to act in. Transitions attend to those before them, and a state to the
transitions that it may see, and to itself. A dataset has no order, so there are no positions. As published a state
comes before its dataset, so that all tokens depend on it. Here it comes after: then many states share a dataset, in
training and in acting, where the keys and values of the transitions are computed once and kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from envs.core import Env
from envs.errors import require
from envs.fields import PositiveFloat, PositiveInt
from envs.structs import Struct
from metarl.backend.products import Linear
from metarl.policies.cells.transformer import INIT_STD, Layer
from metarl.policies.distributions import Distribution
from metarl.policies.mlp import NumUnits, StepInput
from metarl.policies.recurrent import MemoryConfig, Outputs, TrialNetwork


@dataclass(frozen=True)
class InContextConfig(MemoryConfig):
    """A causal transformer over a dataset of transitions, as in DPT."""

    hidden_size: NumUnits = 32
    """Units of a token."""
    num_layers: PositiveInt = 4
    """Layers of attention."""
    num_heads: PositiveInt = 1
    """Heads of a layer, which share out hidden_size. The paper says 4; its code has 1, which is also faster."""
    grows: Literal["episode", "step"] = "episode"
    """When the dataset grows by what was played: after each episode, or after each step, as of a bandit."""
    init_std: PositiveFloat = 1.0
    """Initial standard deviation of continuous actions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.hidden_size % self.num_heads == 0,
            f"hidden_size must be a multiple of num_heads, and {self.hidden_size} is not one of {self.num_heads}.",
        )

    def build(self, env: Env, num_episodes: int) -> InContextNetwork:
        return InContextNetwork(env, num_episodes, self)


@dataclass(frozen=True, eq=False)
class Dataset(Struct):
    """Of each of N tasks: n transitions, and Q states with the optimal action in each."""

    obs: Tensor  # [N, n, O] flattened
    action: Tensor  # [N, n, A], or [N, n] when discrete
    reward: Tensor  # [N, n]
    next_obs: Tensor  # [N, n, O]
    known: Tensor  # [N, n] bool: is next_obs seen? Not where an episode ends
    query: Tensor  # [N, Q, O] states to act in
    size: Tensor  # [N, Q] int64: how many of the transitions are seen there
    optimal: Tensor  # [N, Q, A], or [N, Q] when discrete


@dataclass(frozen=True, eq=False)
class ContextMemory(Struct):
    """Of a trial: what the transitions became in each layer, at the step that ended them."""

    filled: Tensor  # [B, C] bool: places of transitions
    kept: dict[str, Tensor]  # of each layer keys and values [B, C + 1, D]; the last place is the state's
    seen: Tensor  # [B, C] bool: those that states may attend to
    obs: Tensor  # [B, F] features of the last observation
    live: Tensor  # [B] bool: was the last step one of an episode, and no padding?
    t: Tensor  # [B] int64 steps so far


class InContextNetwork(TrialNetwork):
    """Transitions of the trial so far and the observation -> action distribution. Values are zeros.

    Attributes:
        window: the dataset holds so many of the latest transitions, as many as those of training at most.
    """

    def __init__(self, env: Env, num_episodes: int, config: InContextConfig) -> None:
        super().__init__(env, num_episodes, config.init_std)
        size = config.hidden_size
        self.each_step, self.window = config.grows == "step", self.num_steps
        self.capacity = max(1, self.num_steps - 1)  # transitions of a trial that a later step can see
        self.embed = Linear(2 * self.obs_size + self.action_size + 3, size)
        self.layers = nn.ModuleList(Layer(size, config.num_heads, config.num_layers) for _ in range(config.num_layers))
        self.norm, self.out = nn.LayerNorm(size), Linear(size, self.action_size)
        nn.init.normal_(self.out.weight, std=INIT_STD)
        nn.init.zeros_(self.out.bias)

    def transitions(self, obs: Tensor, action: Tensor, reward: Tensor, next_obs: Tensor, known: Tensor) -> Tensor:
        """Tokens [..., D] of transitions between features of observations."""
        after = torch.where(known.unsqueeze(-1), next_obs, 0.0)
        numbers = torch.stack([self.normalizer.reward(reward), known.float(), torch.zeros_like(reward)], -1)
        return self.embed(torch.cat([obs, after, self.one_hot(action), numbers], -1))

    def states(self, obs: Tensor) -> Tensor:
        """Tokens [..., D] of states to act in."""
        zeros = obs.new_zeros(*obs.shape[:-1], self.obs_size + self.action_size + 2)
        return self.embed(torch.cat([obs, zeros, torch.ones_like(zeros[..., :1])], -1))

    def through(self, x: Tensor, mask: Tensor) -> Tensor:
        """Tokens [B, S, D] after all layers; mask [B, S, S]."""
        for layer in self.layers:
            assert isinstance(layer, Layer)
            x = layer.read(x, *layer.project(x), mask.unsqueeze(1))
        return self.norm(x)

    def predict(self, data: Dataset) -> Distribution:
        """Action distributions [N, Q] of the states of datasets."""
        obs, after, query = (self.features(x) for x in (data.obs, data.next_obs, data.query))
        past, x = self.transitions(obs, data.action, data.reward, after, data.known), self.states(query)
        earlier = torch.arange(past.shape[1], device=x.device) < data.size.unsqueeze(-1)  # [N, Q, n]
        seen = torch.cat([earlier, _same(x.shape[1], x).expand(len(x), -1, -1)], -1).unsqueeze(1)
        for layer in self.layers:
            assert isinstance(layer, Layer)
            own, ours = layer.project(past), layer.project(x)
            keys, values = (torch.cat(pair, 1) for pair in zip(own[1:], ours[1:], strict=True))
            x = layer.read(x, ours[0], keys, values, seen)
            if layer is not self.layers[-1]:
                past = layer.read(past, *own)
        return self.head(self.out(self.norm(x)), self.free.unsqueeze(0))

    def forward(self, inputs: StepInput) -> Outputs:
        t, live = self.all_steps(inputs), inputs.mask > 0
        obs, steps = self.normalized_obs(inputs), inputs.obs.shape[1]
        known = live[:, 1:] & ~inputs.first[:, 1:]
        action, reward = inputs.prev_action[:, 1:], inputs.prev_reward[:, 1:]
        x = torch.cat([self.transitions(obs[:, :-1], action, reward, obs[:, 1:], known), self.states(obs)], 1)
        ended = t[:, 1:]  # the step before which each transition ended
        causal = self._in_window(ended, ended) & live[:, None, :-1]
        seen = self._in_window(ended, t if self.each_step else t - t % self.horizon) & live[:, None, :-1]
        out = self.out(self.through(x, _mask(causal | _same(steps - 1, x), seen))[:, steps - 1 :])
        return Outputs(out, torch.zeros_like(out[..., 0]))

    def _in_window(self, ended: Tensor, latest: Tensor) -> Tensor:
        """Which transitions, by when they ended [B, C], are in a dataset of up to `latest` [B, S]: [B, S, C]."""
        age = latest.unsqueeze(-1) - ended.unsqueeze(1)
        return (age >= 0) & (age < self.window)

    def start(self, num_lanes: int) -> ContextMemory:
        entry = self.free.new_zeros(num_lanes, self.capacity + 1, self.norm.normalized_shape[0])
        kept = {f"{layer}{k}": entry for layer in range(len(self.layers)) for k in "kv"}
        nothing = torch.zeros(num_lanes, self.capacity, dtype=torch.bool, device=entry.device)
        obs, t = entry.new_zeros(num_lanes, self.obs_size), torch.zeros_like(nothing[:, 0], dtype=torch.int64)
        return ContextMemory(nothing, kept, nothing, obs, nothing[:, 0], t)

    def step(self, inputs: StepInput, memory: ContextMemory | None) -> tuple[Outputs, Any]:
        memory = self.start(len(inputs)) if memory is None else memory
        obs, live = self.normalized_obs(inputs), inputs.mask > 0
        known = live & ~inputs.first
        ended = self.transitions(memory.obs, inputs.prev_action, inputs.prev_reward, obs, known)
        x = torch.stack([ended, self.states(obs)], 1)  # [B, 2, D]
        ended = torch.arange(1, self.capacity + 1, device=x.device)  # at which step, by place
        place = ended == memory.t.unsqueeze(-1)  # [B, C]
        filled = memory.filled | place & memory.live.unsqueeze(-1)
        latest = filled & (ended > memory.t.unsqueeze(-1) - self.window)
        grows = (memory.t % self.horizon == 0).unsqueeze(-1)
        seen = latest if self.each_step else (grows & latest) | (~grows & memory.seen)
        mask = _mask((latest | place).unsqueeze(1), seen.unsqueeze(1))
        # The transition goes to its place, or where the next one will overwrite it, and the state behind all places.
        places = torch.stack([(memory.t - 1).clamp_min(0), torch.full_like(memory.t, self.capacity)], 1)
        places = places.unsqueeze(-1).expand(-1, -1, x.shape[-1])
        kept: dict[str, Tensor] = {}
        for name, layer in self.layers.named_children():
            assert isinstance(layer, Layer)
            query, *new = layer.project(x)
            keys, values = (memory.kept[name + k].scatter(1, places, y) for k, y in zip("kv", new, strict=True))
            kept |= {name + "k": keys, name + "v": values}
            x = layer.read(x, query, keys, values, mask.unsqueeze(1))
        out = self.out(self.norm(x[:, 1]))
        after = ContextMemory(filled, kept, seen, obs, live, memory.t + 1)
        return Outputs(out, torch.zeros_like(out[:, 0])), after


def _same(count: int, like: Tensor) -> Tensor:
    """[count, count] bool, true on the diagonal; ONNX Runtime has no `eye` of them."""
    numbers = torch.arange(count, device=like.device)
    return numbers == numbers[:, None]


def _mask(among: Tensor, seen: Tensor) -> Tensor:
    """Which tokens attend to which [B, S, K]: transitions [B, n, C] to each other, states [B, Q, C] to transitions, and
    each state to itself. The Q states stand behind the transitions."""
    none = torch.zeros_like(among[..., :1]).expand(-1, -1, seen.shape[1])
    own = _same(seen.shape[1], seen).expand(len(seen), -1, -1)
    return torch.cat([torch.cat([among, none], -1), torch.cat([seen, own], -1)], 1)
