"""Adaptation by gradient steps: pure functions `(params, memory, trajectory) -> (params, memory)`.

One inner step is U(θ) = θ - α ∇L(θ) for every task at once, with the inner loss L of a policy-gradient learner. At the
parameters that collected the data, all inner losses here have the same gradient. They differ in their Hessian, and so
in the meta-gradient; see `ESTIMATORS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from envs.core import Env
from envs.fields import Checked, Coefficient, Fraction, NonNegativeFloat, PositiveInt
from envs.kinds import is_vector
from metarl.backend.groups import each_group
from metarl.learning import losses
from metarl.learning.advantage import ValueFunction, advantages, standardize
from metarl.learning.linearize import Objective, linearize
from metarl.learning.rollout import Adapter, Trajectory, task_slices
from metarl.learning.value import ValueNetwork
from metarl.policies.mlp import Policy

ESTIMATORS = {
    "first-order": "the Jacobian of adaptation taken as the identity (FOMAML)",
    "naive": "Hessian of -log π times the advantage: what automatic differentiation of MAML's inner loss gives, which "
    "leaves out how θ changes the states and actions that adaptation sees (Finn et al. 2017)",
    "lvc": "Hessian of the likelihood ratio times the advantage: low-variance curvature (Rothfuss et al. 2018, eq. 5)",
    "dice": "Hessian of the likelihood ratio of all actions so far times the advantage, loaded with the baseline: "
    "unbiased (Foerster et al. 2018; Farquhar et al. 2019, eq. 13)",
    "e-maml": "the naive Jacobian, and credit of the actions before a step for the returns after it (E-MAML, Stadie et "
    "al. 2018): unbiased for what adaptation from so many episodes brings",
}
"""Estimators of the meta-gradient, by the Hessian of the inner loss."""


@dataclass(frozen=True)
class InnerConfig(Checked):
    """What all gradient-based methods share: how a policy adapts to a task."""

    inner_lr: NonNegativeFloat = 0.1
    """Step size of the inner gradient steps."""
    num_inner_steps: PositiveInt = 1
    """Inner gradient steps in training."""
    halve_test_lr: bool = True
    """At test time, halve the inner learning rate after the first step, as Finn et al. do for more than one step."""
    gamma: Fraction = 0.99
    """Discount."""
    gae_lambda: Fraction = 1.0
    """Bias-variance trade-off of the advantages; 1 gives Monte Carlo returns minus the baseline."""
    baseline: Literal["linear", "cross-fitted", "constant", "value"] = "linear"
    """`linear`: observation (unless an image) and time, fitted to each task's returns. `cross-fitted`: the same, fitted
    for each episode to the task's other ones, or their mean where they are few. `constant`: the mean return of the
    other episodes. With one episode a task, the last two have its own mean. `value`: a value network trained on all
    tasks together with the policy; with a gae_lambda below 1 and an entropy bonus the inner loss is that of advantage
    actor-critic."""
    inner_scale: Literal["task", "none"] = "task"
    """Divide inner advantages by each task's standard deviation, or leave them in units of reward."""
    value_lr: Coefficient = 1e-3
    """Step size (Adam) of the value network."""
    value_epochs: PositiveInt = 10
    """Passes of the value network over a meta-iteration's data."""
    entropy_coef: NonNegativeFloat = 0.0
    """Weight of the policy's entropy, before adaptation and after: in the inner loss and in the outer objective."""

    def test_rates(self, num_steps: int) -> list[float]:
        """Factors of the inner learning rate at test time, one for each step."""
        return [0.5 if self.halve_test_lr and k > 0 else 1.0 for k in range(num_steps)]


@dataclass(frozen=True)
class InnerLoss:
    """The inner loss as a function of trajectories. `old_log_prob` is that of the policy that collected them.

    A value function, when there is one, gives the baseline instead of a fit to each task.
    """

    gamma: float
    gae_lambda: float
    estimator: str = "naive"
    entropy_coef: float = 0.0
    value_function: ValueFunction | None = None
    baseline: str = "linear"
    scale: str = "task"

    @classmethod
    def of(cls, config: InnerConfig, estimator: str, value_function: ValueFunction | None) -> InnerLoss:
        c = config
        return cls(c.gamma, c.gae_lambda, estimator, c.entropy_coef, value_function, c.baseline, c.inner_scale)

    def advantage(self, trajectory: Trajectory) -> Tensor:
        """Advantages [N, T, E] with mean 0 over each task, and standard deviation 1 unless `scale` is "none"."""
        raw = advantages(trajectory, self.gamma, self.gae_lambda, self.value_function, self.baseline)
        return raw if self.scale == "none" else standardize(raw, trajectory.mask)

    def objective(self, trajectory: Trajectory, old_log_prob: Tensor | None = None) -> Objective:
        """The loss as a function of action distributions.

        Args:
            old_log_prob: [N, T, E], needed by `lvc` and `dice`, and only where their value or second derivative counts.
        """
        action, mask = trajectory.action, trajectory.mask
        advantage = self.advantage(trajectory)

        def objective(distribution: Any) -> Tensor:
            if self.estimator in ("naive", "first-order", "e-maml") or old_log_prob is None:
                loss = losses.policy_gradient(distribution, action, advantage, mask)
            elif self.estimator == "lvc":
                loss = losses.surrogate(distribution, action, advantage, mask, old_log_prob)
            else:
                loss = losses.dice(distribution, action, advantage, mask, old_log_prob)
            return self.regularize(loss, distribution, mask)

        return objective

    def regularize(self, loss: Tensor, distribution: Any, mask: Tensor, weight: float = 1.0) -> Tensor:
        """A loss [N] less the weighted entropy of the action distributions."""
        if not self.entropy_coef:
            return loss
        return loss - weight * self.entropy_coef * losses.masked_mean(distribution.entropy(), mask)


def sgd_step(
    policy: Policy, params: Tensor, trajectory: Trajectory, objective: Objective, inner_lr: float | Tensor
) -> Tensor:
    """U(params) [N, P]: one gradient step of each task on its own trajectory."""
    return params - inner_lr * linearize(policy, params, trajectory.inputs).gradient(objective)


def sgd_adapt(policy: Policy, loss: InnerLoss, inner_lr: float | Tensor) -> Adapter:
    """The adapter of MAML: `sgd_step` on the inner loss. A tensor of rates is [P]."""

    def adapt(params: Tensor, memory: Any, trajectory: Trajectory) -> tuple[Tensor, Any]:
        def step(tasks: slice) -> Tensor:
            part = trajectory[tasks]
            return sgd_step(policy, params[tasks], part, loss.objective(part), inner_lr)

        return torch.cat(each_group(step, task_slices(trajectory), params.device)), memory

    return adapt


def value_network(config: InnerConfig, env: Env, generator: Generator) -> ValueNetwork | None:
    """The learned baseline, where the configuration asks for one."""
    if config.baseline != "value":
        return None
    space = env.observation_space
    encoded = None if is_vector(space) else space
    return ValueNetwork(space.shape[0], env.horizon, config.gamma, config.value_lr, generator, encoded)
