"""A value network as a baseline: one for all tasks, trained by regression on the returns of every meta-iteration."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from gymnasium import spaces
from torch import Generator, Tensor, nn

from metarl.backend import distributed
from metarl.learning.advantage import discounted_sum
from metarl.learning.rollout import Trajectory
from metarl.policies.encoders import encoder_of

MINIBATCH_STEPS = 8192


class TimedEncoder(nn.Module):
    """Observations followed by the time, [..., O + 1] -> features followed by the time, [..., F + 1]."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder, self.num_features = encoder, encoder.num_features

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.encoder(x[..., :-1]), x[..., -1:]], -1)


def fresh_encoder(space: spaces.Space, generator: Generator) -> Any:
    """An encoder of observations, with parameters from a seed that the generator draws."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator, device=generator.device)))
        encoder = encoder_of(space)
    assert encoder is not None
    return encoder.to(generator.device)


class ValueNetwork:
    """Estimates the discounted return from observation and time: two layers of 64 tanh units, after an encoder where
    observations are no vectors.

    Targets are scaled by a running mean and standard deviation, so that the learning rate suits any unit of reward.
    """

    def __init__(
        self,
        num_inputs: int,
        horizon: int,
        gamma: float,
        lr: float,
        generator: Generator,
        observed: spaces.Space | None = None,
    ) -> None:
        """`observed`: the observation space where it has an encoder; `num_inputs` is then not used."""
        self.horizon, self.gamma, self.device = horizon, gamma, generator.device
        encoder = None if observed is None else TimedEncoder(fresh_encoder(observed, generator))
        sizes = [(num_inputs if encoder is None else encoder.num_features) + 1, 64, 64, 1]
        layers: list[nn.Module] = []
        for i, o in itertools.pairwise(sizes):
            linear = nn.Linear(i, o, device=generator.device)
            nn.init.orthogonal_(linear.weight, generator=generator)
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.Tanh()]
        self.module = nn.Sequential(*([] if encoder is None else [encoder]), *layers[:-1])
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr)
        self.shift, self.scale, self.fitted = torch.zeros((), device=self.device), torch.ones((), device=self.device), 0

    def _inputs(self, trajectory: Trajectory) -> Tensor:
        n, horizon, num_envs, _ = trajectory.obs.shape
        time = torch.arange(horizon, device=self.device) % self.horizon / self.horizon
        inputs = torch.cat([trajectory.obs.to(time.dtype), time.view(1, -1, 1, 1).expand(n, horizon, num_envs, 1)], -1)
        return inputs.to(self.shift.dtype)

    @torch.no_grad()
    def __call__(self, trajectory: Trajectory) -> Tensor:
        """Values [N, T, E], in units of reward."""
        value = self.module(self._inputs(trajectory)).squeeze(-1)
        return (value * self.scale + self.shift).to(trajectory.reward.dtype)

    def fit(self, trajectories: list[Trajectory], epochs: int, generator: Generator) -> float:
        """Regress on the discounted returns, of all processes together; `generator` is in the same state in each.

        Returns:
            The explained variance before, 1 at best; NaN when the fit left parameters that are not finite.
        """
        targets = [discounted_sum(t.reward, self.gamma).to(self.shift.dtype) for t in trajectories]
        keep = [t.mask.bool() for t in trajectories]
        target = torch.cat([y[k] for y, k in zip(targets, keep, strict=True)])
        before = torch.cat([self(t)[k].to(self.shift.dtype) for t, k in zip(trajectories, keep, strict=True)])
        variance = distributed.var(target).clamp_min(1e-12)
        explained = 1 - float(distributed.var(target - before) / variance)
        inputs = torch.cat([self._inputs(t)[k] for t, k in zip(trajectories, keep, strict=True)])
        self.fitted += 1
        weight = max(1 / self.fitted, 0.1)
        self.shift.lerp_(distributed.mean(target), weight)  # in place, where recordings read them
        self.scale.lerp_(distributed.std(target).clamp_min(1e-6), weight)
        y = (target - self.shift) / self.scale
        place = _places([int(k.sum()) for k in keep], self.device)
        for _ in range(epochs):
            order = torch.randperm(len(place), generator=generator, device=self.device)
            for rows in order.split(MINIBATCH_STEPS):
                own = place[rows]
                own = own[own >= 0]
                loss = (self.module(inputs[own]).squeeze(-1) - y[own]).square().sum() / len(rows)
                self.optimizer.zero_grad()
                loss.backward()
                distributed.all_sum_gradients(self.module.parameters())
                self.optimizer.step()
        finite = all(bool(p.isfinite().all()) for p in self.module.parameters())
        return explained if finite else math.nan

    def state_dict(self) -> dict[str, Any]:
        return {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "shift": self.shift,
            "scale": self.scale,
            "fitted": self.fitted,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.shift.copy_(state["shift"])
        self.scale.copy_(state["scale"])
        self.fitted = int(state["fitted"])


def _places(counts: list[int], device: torch.device) -> Tensor:
    """The index in this process of each row [M] of the data of all processes, -1 for rows of other processes.

    Rows are ordered by trajectory and then by process, as one process with all tasks would order them.

    Args:
        counts: rows of each trajectory in this process.
    """
    table = [[int(n) for n in row] for row in distributed.gather(*counts)]  # [process][trajectory]
    parts, begin = [], 0
    for k, own in enumerate(counts):
        for process, row in enumerate(table):
            mine = process == distributed.rank()
            parts.append(torch.arange(begin, begin + own) if mine else torch.full((row[k],), -1))
        begin += own
    return torch.cat(parts).to(device)
