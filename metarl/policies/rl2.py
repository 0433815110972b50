"""RL²: a recurrent policy that learns to learn in its state (Duan et al. 2016; Wang et al. 2016).

What remembers is a cell (`metarl/policies/cells/`); what acts is a head on its state.
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
from metarl.policies.cells import CELLS, Cell
from metarl.policies.hypernetwork import Hypernetwork
from metarl.policies.mlp import NumUnits, StepInput
from metarl.policies.recurrent import MemoryConfig, Outputs, TrialNetwork


@dataclass(frozen=True)
class RL2Config(MemoryConfig):
    """A recurrent policy, as in RL²."""

    hidden_size: NumUnits = 128
    """Units of the recurrent state."""
    cell: Literal["gru", "lstm", "s5", "transformer"] = "gru"
    """What remembers. s5: diagonal state-space layers; transformer: causal attention over the trial."""
    head: Literal["plain", "state", "hypernetwork"] = "plain"
    """What acts. plain: a linear layer on the recurrent state; state: a layer that also sees the step itself (RNN+S,
    Beck et al. 2023); hypernetwork: the recurrent state generates the weights of a policy on the observation."""
    num_layers: PositiveInt = 2
    """Layers of s5 and transformer; gru and lstm have one."""
    init_std: PositiveFloat = 1.0
    """Initial standard deviation of continuous actions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.cell in ("s5", "transformer") or self.num_layers == RL2Config.num_layers,
            f"num_layers is for the cells s5 and transformer, and {self.cell} has one layer; leave it out.",
        )

    def build(self, env: Env, num_episodes: int) -> RL2Network:
        return RL2Network(env, num_episodes, self)


@dataclass(frozen=True, eq=False)
class RL2Memory(Struct):
    cell: Any  # of the cell, [B, ...]
    t: Tensor  # [B] int64 steps so far


class RL2Network(TrialNetwork):
    """(obs, previous action and reward, episode start, time) -> cell -> action distribution and value."""

    def __init__(self, env: Env, num_episodes: int, config: RL2Config) -> None:
        super().__init__(env, num_episodes, config.init_std)
        self.config, size = config, config.hidden_size
        self.embed = nn.Sequential(Linear(self.obs_size + self.num_step_features, size), nn.SiLU())
        self.add_module(config.cell, CELLS[config.cell](size, self.num_steps, config.num_layers))
        if config.head == "hypernetwork":
            self.hypernetwork = Hypernetwork(size, self.obs_size, self.action_size + 1)
            return
        self.join = nn.Sequential(Linear(2 * size, size), nn.SiLU()) if config.head == "state" else None
        self.out = Linear(size, self.action_size)
        self.value_out = Linear(size, 1)
        for layer in (self.out, self.value_out):
            nn.init.orthogonal_(layer.weight, 0.01)
            nn.init.zeros_(layer.bias)

    @property
    def cell(self) -> Cell:
        cell = self.get_submodule(self.config.cell)
        assert isinstance(cell, Cell)
        return cell

    def see(self, inputs: StepInput, t: Tensor) -> tuple[Tensor, Tensor]:
        """The observation as the network sees it [..., O], and the embedding of the step [..., H]."""
        obs = self.normalized_obs(inputs)
        return obs, self.embed(torch.cat([obs, self.step_features(inputs, t)], -1))

    def decide(self, obs: Tensor, x: Tensor, state: Tensor) -> Outputs:
        """Of what `see` returns, and the recurrent state after the step [..., H]."""
        if self.config.head == "hypernetwork":
            both = self.hypernetwork(state, obs)
            return Outputs(both[..., :-1], both[..., -1])
        if self.join is not None:
            state = self.join(torch.cat([state, x], -1))
        return Outputs(self.out(state), self.value_out(state).squeeze(-1))

    def forward(self, inputs: StepInput) -> Outputs:
        obs, x = self.see(inputs, self.all_steps(inputs))
        return self.decide(obs, x, self.cell.sequence(x))

    def start(self, num_lanes: int) -> RL2Memory:
        return RL2Memory(self.cell.start(num_lanes), torch.zeros(num_lanes, dtype=torch.int64, device=self.free.device))

    def step(self, inputs: StepInput, memory: RL2Memory | None) -> tuple[Outputs, RL2Memory]:
        if memory is None:
            memory = self.start(len(inputs))
        obs, x = self.see(inputs, memory.t)
        state, cell = self.cell.step(x, memory.cell)
        return self.decide(obs, x, state), RL2Memory(cell, memory.t + 1)
