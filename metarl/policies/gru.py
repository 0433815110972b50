"""RL²: a GRU that learns to learn in its hidden state (Duan et al. 2016; Wang et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from envs.core import Env
from envs.fields import PositiveFloat
from envs.structs import Struct
from metarl.policies.gru_cpu import GRUSequence, gru_step
from metarl.policies.mlp import NumUnits, StepInput
from metarl.policies.recurrent import MemoryConfig, Outputs, TrialNetwork


@dataclass(frozen=True)
class GRUConfig(MemoryConfig):
    """A recurrent policy, as in RL²."""

    hidden_size: NumUnits = 128
    """Units of the recurrent state."""
    see_state: bool = False
    """Has the policy a layer after the GRU that also sees the step itself (RNN+S, Beck et al. 2023)?"""
    init_std: PositiveFloat = 1.0
    """Initial standard deviation of continuous actions."""

    def build(self, env: Env, num_episodes: int) -> GRUNetwork:
        return GRUNetwork(env, num_episodes, self)


@dataclass(frozen=True, eq=False)
class GRUMemory(Struct):
    hidden: Tensor  # [B, H]
    t: Tensor  # [B] int64 steps so far


class GRUNetwork(TrialNetwork):
    """(obs, previous action and reward, episode start, time) -> GRU -> action distribution and value."""

    def __init__(self, env: Env, num_episodes: int, config: GRUConfig) -> None:
        super().__init__(env, num_episodes, config.init_std)
        size = config.hidden_size
        self.embed = nn.Sequential(nn.Linear(self.obs_size + self.num_step_features, size), nn.SiLU())
        self.gru = nn.GRU(size, size, batch_first=True)
        nn.init.orthogonal_(self.gru.get_parameter("weight_hh_l0"))
        self.join = nn.Sequential(nn.Linear(2 * size, size), nn.SiLU()) if config.see_state else None
        self.out = nn.Linear(size, self.action_size)
        self.value_out = nn.Linear(size, 1)
        for layer in (self.out, self.value_out):
            nn.init.orthogonal_(layer.weight, 0.01)
            nn.init.zeros_(layer.bias)

    def see(self, inputs: StepInput, t: Tensor) -> Tensor:
        return self.embed(torch.cat([self.normalized_obs(inputs), self.step_features(inputs, t)], -1))

    def decide(self, x: Tensor, hidden: Tensor) -> Outputs:
        """Of the embedding of a step and the recurrent state after it, both [..., H]."""
        if self.join is not None:
            hidden = self.join(torch.cat([hidden, x], -1))
        return Outputs(self.out(hidden), self.value_out(hidden).squeeze(-1))

    def forward(self, inputs: StepInput) -> Outputs:
        x = self.see(inputs, self.all_steps(inputs))
        states = self.gru(x)[0] if x.device.type != "cpu" else GRUSequence.apply(x, *self.gru.parameters())
        return self.decide(x, states)

    def start(self, num_lanes: int) -> GRUMemory:
        hidden = self.free.new_zeros(num_lanes, self.gru.hidden_size)
        return GRUMemory(hidden, torch.zeros(num_lanes, dtype=torch.int64, device=hidden.device))

    def step(self, inputs: StepInput, memory: GRUMemory | None) -> tuple[Outputs, Any]:
        if memory is None:
            memory = self.start(len(inputs))
        x = self.see(inputs, memory.t)
        if x.device.type == "cpu":
            hidden = gru_step(x, memory.hidden, tuple(self.gru.parameters()))
        else:
            hidden = self.gru(x.unsqueeze(1), memory.hidden.unsqueeze(0))[1].squeeze(0)
        return self.decide(x, hidden), GRUMemory(hidden, memory.t + 1)
