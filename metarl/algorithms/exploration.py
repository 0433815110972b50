"""Reward bonuses that make VariBAD explore while it trains on sparse rewards (HyperX, Zintgraf et al. 2021).

A hyper-state is what the policy sees: the observation and the belief. Of the step into one two bonuses are made:

- *novelty*: how badly one network predicts the outputs of another at the hyper-state, the second random and fixed, the
  first trained on the hyper-states that were visited (random network distillation, Burda et al. 2018);
- *error*: the squared error with which the model predicts the step from the belief after it. It is large where the
  belief has not learned yet to hold what was just seen.

Each is divided by the standard deviation of its discounted sums and multiplied by that of the rewards', so that its
weight compares returns; weights fall linearly to 0 at the last meta-iteration.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from metarl.algorithms.base import check_tensors, load_optimizer
from metarl.backend.distributed import all_sum
from metarl.backend.products import Linear
from metarl.learning.advantage import discounted_sum
from metarl.learning.descent import descend, flat_gradient
from metarl.learning.rollout import Trajectory
from metarl.policies.recurrent import Bonuses, Normalizer, TrialNetwork

UNITS, OUTPUTS = 128, 32
"""Of the two hidden layers and the last layer of both networks."""
LR, UPDATES, STEPS = 1e-3, 10, 16
"""Adam's learning rate, its steps in a meta-iteration, and the steps of each trial that one learns from."""


class ExplorationBonus:
    """The bonuses of trials, and the network that learns what is no longer new."""

    def __init__(self, network: TrialNetwork, bonuses: Bonuses, generator: Generator, gamma: float) -> None:
        self.network, self.bonuses, self.generator, self.gamma = network, bonuses, generator, gamma
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fixed, learned = (self._net() for _ in range(2))
        self.nets = nn.ModuleDict({"fixed": fixed.requires_grad_(False), "learned": learned, "scale": Normalizer(2)})
        self.nets.to(generator.device)
        self.parameters = list(self.nets["learned"].parameters())
        self.optimizer = torch.optim.Adam(self.parameters, LR)

    def _net(self) -> nn.Sequential:
        sizes = [self.bonuses.size, UNITS, UNITS, OUTPUTS]
        layers = [Linear(a, b) for a, b in itertools.pairwise(sizes)]
        for layer in layers:
            nn.init.orthogonal_(layer.weight, 2**0.5)
            nn.init.zeros_(layer.bias)
        return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])

    def novelty(self, hyper_state: Tensor) -> Tensor:
        """Mean squared error of the prediction at each hyper-state [..., S]."""
        return (self.nets["learned"](hyper_state) - self.nets["fixed"](hyper_state)).square().mean(-1)

    def update(self, trial: Trajectory, left: float) -> tuple[Tensor, dict[str, float]]:
        """What to add to the rewards of trials [B, T] while a fraction of the run is left; and metrics. Learns."""
        with torch.no_grad():
            hyper_state, error = self.network.explored(trial.inputs, trial.action, trial.reward)
            novelty = self.novelty(hyper_state)
            bonus = left * self._scaled(torch.stack([novelty, error], -1), trial)
            found = torch.stack([(x * trial.mask).sum() for x in (novelty, bonus, trial.mask)])
        for _ in range(UPDATES):
            self._learn(hyper_state, trial.mask)
        new, added, count = all_sum(found).tolist()
        return bonus, {"novelty": new / count, "bonus": added / count}

    def _scaled(self, found: Tensor, trial: Trajectory) -> Tensor:
        """Novelty and error [B, T, 2] of each step as a bonus [B, T] of the step that led to it."""
        after = functional.pad(trial.mask[:, 1:], (0, 1)) * trial.mask
        columns = torch.stack([functional.pad(found[:, 1:, 0], (0, 1)), found[..., 1]], -1) * after.unsqueeze(-1)
        sums = discounted_sum(torch.cat([columns, trial.reward.unsqueeze(-1)], -1), self.gamma)
        scale = self.nets["scale"]
        assert isinstance(scale, Normalizer)
        scale.update(sums[..., :2], sums[..., 2], trial.mask)
        std = scale.variance.sqrt()
        std = torch.where(std > 0, std, 1.0)  # of rewards before the first was found
        weight = columns.new_tensor([self.bonuses.novelty, self.bonuses.error]) * std[2] / std[:2]
        return (columns * weight).sum(-1)

    def _learn(self, hyper_state: Tensor, mask: Tensor) -> None:
        """A step of Adam on some steps of all trials, the same in all processes."""
        order = torch.randperm(mask.shape[1], generator=self.generator, device=self.generator.device)
        mask = mask[:, order[:STEPS]]
        loss = (self.novelty(hyper_state[:, order[:STEPS]]) * mask).sum() / all_sum(mask.sum()).clamp_min(1)
        descend(self.optimizer, self.parameters, flat_gradient(loss, self.parameters))

    def state_dict(self) -> dict[str, Any]:
        return {"nets": self.nets.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_tensors(state["nets"], self.nets.state_dict())
        self.nets.load_state_dict(state["nets"])
        load_optimizer(self.optimizer, state["optimizer"])
