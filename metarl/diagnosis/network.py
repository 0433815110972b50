"""What is found about the parts of a policy that adapts by gradient steps: hidden units and the baseline."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from metarl.diagnosis.findings import Finding, Verdict, does_not_apply, short
from metarl.diagnosis.probe import Probe
from metarl.learning.advantage import discounted_sum, linear_baseline, linear_features, linear_weights
from metarl.learning.rollout import Trajectory
from metarl.policies.mlp import MLPPolicy

SATURATED = 0.99
"""A tanh unit is saturated where its output is beyond this..."""
ALMOST_ALL = 0.95
"""...on this part of the inputs."""
FEW_DEAD, MANY_DEAD = 0.3, 0.8
"""Parts of a layer's units without use, from which on that is a note and a problem."""


def units(probe: Probe, t: Trajectory | None) -> Finding:
    """Hidden units that pass no gradient on what the policy sees before adaptation."""
    name, inner = "hidden units", probe.run.algorithm.inner
    if t is None or inner is None:
        return does_not_apply(name, f"{probe.run.algorithm.name} does not show its network.")
    policy, params = inner.policy, inner.params
    if not isinstance(policy, MLPPolicy) or not policy.config.hidden_sizes:
        return does_not_apply(name, "The policy has no hidden layers of tanh or ReLU units.")
    obs = t.obs[t.mask > 0]
    obs = obs[:: max(1, len(obs) // 10_000)]
    if float(obs.isclose(obs.median(0).values).all(1).float().mean()) > ALMOST_ALL:
        return does_not_apply(name, "Almost all observations are the same, so that any unit is almost a constant.")
    x = obs.mT  # [O, B]
    relu, dead = policy.config.activation == "relu", []
    for layer in policy.unflatten(params.unsqueeze(0))[0][:-1]:
        x = policy.activation(layer[0, :, :-1] @ x + layer[0, :, -1:])
        useless = (x <= 0).all(1) if relu else (x.abs() > SATURATED).float().mean(1) > ALMOST_ALL
        dead.append(float(useless.float().mean()))
    worst = max(dead)
    numbers = {"useless units in each layer": dead, "inputs": x.shape[1]}
    said = f"{worst:.0%} of the units in hidden layer {dead.index(worst) + 1}"
    how = "are never active" if relu else f"are saturated on over {ALMOST_ALL:.0%} of inputs"
    if worst < FEW_DEAD:
        return Finding(name, "ok", f"Hidden units work: {f'at most {said}' if worst else 'none'} {how}.", numbers)
    verdict: Verdict = "problem" if worst >= MANY_DEAD else "note"
    effect = "no gradient passes them, and what lies before them cannot adapt"
    return Finding(
        name, verdict, f"{said} {how}: {effect}.", numbers,
        f"a new run with {'--activation tanh' if relu else probe.smaller_outer_steps}",
    )  # fmt: skip


USELESS = 0.1
"""Part of the variance of returns below which a baseline explains nothing."""
PREDICTABLE = 0.3
"""Part that another baseline must explain to show that there was something to explain."""


def explained(target: Tensor, value: Tensor, mask: Tensor) -> float:
    """Part of the variance of target [N, T, E] within tasks that the value explains; NaN where there is none.

    What differs between tasks alone does not count, since advantages are centred for each task.
    """

    def within(x: Tensor) -> Tensor:
        x, weight = x.double(), mask.double()
        mean = (x * weight).sum((1, 2), keepdim=True) / weight.sum((1, 2), keepdim=True)
        return ((x - mean) * weight).square().sum()

    total = within(target)
    scale = (target.double() * mask).square().sum()
    return float(1 - within(target - value) / total) if total > 1e-10 * scale else float("nan")


def held_out_linear(x: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Linear value estimates, fitted to one half of the rows' samples and applied to the other, and the reverse.

    Args:
        x: features [R, S, B, F]: of each of R fits, S samples that are divided, B steps of each.
        target, mask: [R, S, B].
    """
    out = torch.zeros_like(target, dtype=torch.float64)
    half = torch.arange(x.shape[1], device=x.device) % 2 == 0
    for fitted in (half, ~half):
        weight = mask[:, fitted].double().unsqueeze(-1)
        inputs = (x[:, fitted].double() * weight).flatten(1, 2)
        weights = linear_weights(inputs, (target[:, fitted].double().unsqueeze(-1) * weight).flatten(1, 2))
        out[:, ~fitted] = (x[:, ~fitted].double() @ weights.unsqueeze(1)).squeeze(-1)
    return out


def baseline(probe: Probe, t: Trajectory | None) -> Finding:
    """What the baseline explains of returns before adaptation, on data that it was not fitted to."""
    name, inner = "baseline", probe.run.algorithm.inner
    config: Any = probe.run.config.algorithm
    if t is None or inner is None:
        return does_not_apply(name, f"{probe.run.algorithm.name} has no baseline of its inner steps.")
    target, x = discounted_sum(t.reward, config.gamma), linear_features(t.obs)
    alone = t.reward.shape[2] < 2  # one episode a task: nothing to hold out
    by_episode = [y.transpose(1, 2) for y in (x, target, t.mask)]  # [N, E, T, ...]
    fit = linear_baseline(t.obs, target, t.mask)
    in_sample = explained(target, fit, t.mask)
    task_fit = in_sample if alone else explained(target, held_out_linear(*by_episode).transpose(1, 2), t.mask)
    pooled = held_out_linear(*(y.flatten(1, 2).unsqueeze(0) for y in (x, target, t.mask)))[0]
    pooled_fit = explained(target, pooled.unflatten(1, target.shape[1:]), t.mask)
    numbers: dict[str, Any] = {"linear fit for each task": task_fit, "linear fit for all tasks": pooled_fit}
    if inner.value is None or math.isnan(in_sample):
        return _linear(name, {**numbers, "on its own episodes": in_sample}, in_sample, task_fit, alone, probe)
    value = explained(target, inner.value(t), t.mask)
    numbers = {"value network": value, **numbers}
    said = f"The value network explains {short(value)} of the variance of returns"
    best = max(task_fit, pooled_fit)
    if value < USELESS and best >= PREDICTABLE:
        rate, epochs = config.value_lr, config.value_epochs
        if pooled_fit < PREDICTABLE:
            remedy = "--baseline linear, which is fitted to each task"
        else:
            remedy = f"--value-lr {max(3 * rate, 1e-3):g}" + (f" or --value-epochs {2 * epochs}" if rate else "")
        return Finding(
            name, "problem", f"{said}, so it is of no use, though a linear fit to observation and time explains "
            f"{short(best)}.", numbers, remedy,
        )  # fmt: skip
    if value < task_fit - PREDICTABLE:
        return Finding(
            name, "note", f"{said}, a linear fit to each task's own episodes {short(task_fit)}.", numbers,
            "--baseline linear, or --value-epochs " + str(2 * config.value_epochs),
        )  # fmt: skip
    return Finding(name, "ok", f"{said}; a linear fit to each task's episodes explains {short(task_fit)}.", numbers)


def _linear(
    name: str, numbers: dict[str, Any], in_sample: float, held_out: float, alone: bool, probe: Probe
) -> Finding:
    if math.isnan(in_sample):
        return Finding(name, "ok", "Returns do not vary within a task, so there is nothing to explain.", numbers)
    if alone:
        said = f"explains {short(in_sample)} of the variance of returns in the one episode that it is fitted to"
        return Finding(name, "ok", f"The linear baseline {said}, which is no test on other data.", numbers)
    said = f"explains {short(held_out)} of the variance of returns on episodes that it was not fitted to"
    if held_out >= USELESS:
        return Finding(name, "ok", f"The linear baseline {said}.", numbers)
    if in_sample >= PREDICTABLE:
        return Finding(
            name, "note", f"The linear baseline {said} and {short(in_sample)} on its own: it fits noise.", numbers,
            f"--num-envs {2 * probe.run.config.num_envs}, or --baseline value",
        )  # fmt: skip
    return Finding(name, "ok", f"The linear baseline {said}; no fit here explains more.", numbers)
