"""What a network with a model of the task learns from whole trials, beside what PPO teaches it (VariBAD)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor, nn

from metarl.backend import distributed
from metarl.backend.cuda_graphs import Graphs
from metarl.backend.distributed import all_sum
from metarl.learning.descent import descend, flat_gradient, scaled_down, set_lr
from metarl.learning.rollout import Trajectory
from metarl.policies.recurrent import ModelTraining, TrialNetwork

METRICS = ("model_error", "belief_kl", "belief_std")
"""Mean squared error of a decoded step, in standard deviations; KL of a trial; mean std of the last belief."""


class ModelLearner:
    """Adam on `TrialNetwork.model_loss`.

    Args:
        num_shards: equal parts of a meta-batch, spread over the processes; a step takes as many trials of each.
        max_grad_norm: gradients are scaled down to this norm.
    """

    def __init__(
        self, network: TrialNetwork, model: ModelTraining, generator: Generator, num_shards: int, max_grad_norm: float
    ) -> None:
        self.network, self.model, self.generator = network, model, generator
        self.num_shards, self.max_grad_norm = num_shards, max_grad_norm
        self.parameters = [p for p in self.model.parameters if p.numel()]
        fused = True if self.parameters[0].is_cuda else None  # as PPO's
        self.optimizer = torch.optim.Adam(self.parameters, self.model.lr, eps=1e-5, fused=fused)

    def update(self, trial: Trajectory, left: float, graphs: Graphs) -> dict[str, float]:
        """Learn from trials [B, T, ...] while a fraction of the run is left. Returns metrics."""
        set_lr(self.optimizer, self.model.lr * left)
        sums = torch.stack([self.descend(trial, graphs) for _ in range(self.model.updates)]).sum(0).tolist()
        error, count, kl, std, trials = sums
        return dict(zip(METRICS, (error / max(1.0, count), kl / trials, std / trials), strict=True))

    def descend(self, trial: Trajectory, graphs: Graphs) -> Tensor:
        """One step on some of the trials; see `gradient`."""
        rows, noise = self.draw(len(trial))
        num_steps, device = trial.reward.shape[1], self.generator.device
        at, decoded = (
            torch.randperm(num_steps, generator=self.generator, device=device)[:count]
            for count in (self.model.samples[0], self.model.decoded)
        )
        part = trial[rows]
        given = (part.inputs, part.action, part.reward, noise[:, : len(at)], at, decoded)
        gradient, metrics = graphs("model", self.gradient, *given)
        descend(self.optimizer, self.parameters, gradient)
        return metrics

    def draw(self, num_trials: int) -> tuple[Tensor, Tensor]:
        """Rows among this process's trials and their noise; all processes draw the same numbers."""
        own = self.num_shards // distributed.world_size()
        size, first = num_trials // own, distributed.rank() * own
        count, device = max(1, min(size, self.model.trials // self.num_shards)), self.generator.device
        rows, noises = [], []
        for shard in range(self.num_shards):
            order = torch.randperm(size, generator=self.generator, device=device)[:count]
            noise = torch.randn(count, *self.model.samples, generator=self.generator, device=device)
            if first <= shard < first + own:
                rows.append(order + (shard - first) * size)
                noises.append(noise)
        return torch.cat(rows), torch.cat(noises)

    def gradient(self, *given: Any) -> tuple[Tensor, Tensor]:
        """Of the mean loss of a step's trials [P]; and sums of what metrics are made from, with their number last."""
        loss, metrics = self.network.model_loss(*given)
        metrics = all_sum(torch.cat([metrics.sum(0), metrics.new_full((1,), len(loss))]))
        flat = flat_gradient(loss.sum() / metrics[-1], self.parameters)
        return scaled_down(flat, nn.utils.get_total_norm([flat]), self.max_grad_norm), metrics
