"""Findings about the parts of a policy that adapts by gradient steps: hidden units and the baseline."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from metarl.diagnosis.findings import Finding, Verdict, does_not_apply, short
from metarl.diagnosis.probe import Probe
from metarl.learning.advantage import discounted_sum, fitted_values, linear_baseline, linear_features, linear_weights
from metarl.learning.rollout import Trajectory
from metarl.policies.mlp import MLPPolicy

SATURATED = 0.99
"""A tanh unit is saturated if its output is beyond this..."""
ALMOST_ALL = 0.95
"""...on this fraction of the inputs."""
FEW_DEAD, MANY_DEAD = 0.3, 0.8
"""Fractions of a layer's units without use from which on that is a note and a problem."""


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
        return does_not_apply(name, "Almost all observations are the same, so any unit is almost constant.")
    x = obs.mT  # [O, B]
    relu, dead = policy.config.activation == "relu", []
    for layer in policy.unflatten(params.unsqueeze(0))[0][:-1]:
        x = policy.activation(layer[0, :, :-1] @ x + layer[0, :, -1:])
        useless = (x <= 0).all(1) if relu else (x.abs() > SATURATED).float().mean(1) > ALMOST_ALL
        dead.append(float(useless.float().mean()))
    worst = max(dead)
    share = f"{worst:.0%} of the units in hidden layer {dead.index(worst) + 1}"
    how = "are never active" if relu else f"are saturated on over {ALMOST_ALL:.0%} of inputs"
    finding = partial(Finding, name, numbers={"useless units in each layer": dead, "inputs": x.shape[1]})
    if worst < FEW_DEAD:
        return finding("ok", f"Hidden units work: {f'at most {share}' if worst else 'none'} {how}.")
    verdict: Verdict = "problem" if worst >= MANY_DEAD else "note"
    sentence = f"{share} {how}: they pass no gradient, so the layers before them cannot adapt."
    return finding(
        verdict, sentence, next=f"a new run with {'--activation tanh' if relu else probe.smaller_outer_steps}"
    )


USELESS = 0.1
"""A baseline that explains less than this fraction of the variance of returns is useless..."""
PREDICTABLE = 0.3
"""...if another one explains this fraction, so that there was something to explain."""


def explained(target: Tensor, value: Tensor, mask: Tensor) -> float:
    """Fraction of the variance of target [N, T, E] within tasks that the value explains; NaN where there is none.

    Differences between tasks do not count, since advantages are centred for each task.
    """

    def within(x: Tensor) -> Tensor:
        x, weight = x.double(), mask.double()
        mean = (x * weight).sum((1, 2), keepdim=True) / weight.sum((1, 2), keepdim=True)
        return ((x - mean) * weight).square().sum()

    total = within(target)
    scale = (target.double() * mask).square().sum()
    return float(1 - within(target - value) / total) if total > 1e-10 * scale else float("nan")


def held_out_linear(x: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Linear value estimates for each half of the samples, from a fit to the other half.

    Args:
        x: features [R, S, B, F] of B steps of S samples, for R separate fits.
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
    if inner.value is None and config.baseline != "linear":
        said = (
            "the mean return of the other episodes" if config.baseline == "constant" else "a fit to the other episodes"
        )
        own = explained(target, fitted_values(t, config.gamma, config.baseline), t.mask)
        sentence = f"The baseline, {said}, explains {short(own)} of the variance of returns."
        return Finding("baseline", "ok", sentence, {config.baseline: own, **numbers})
    if inner.value is None or math.isnan(in_sample):
        return _linear({**numbers, "on its own episodes": in_sample}, in_sample, task_fit, alone, probe)
    value = explained(target, inner.value(t), t.mask)
    finding = partial(Finding, name, numbers={"value network": value, **numbers})
    said = f"The value network explains {short(value)} of the variance of returns"
    best, epochs = max(task_fit, pooled_fit), config.value_epochs
    if value < USELESS and best >= PREDICTABLE:
        if pooled_fit < PREDICTABLE:
            remedy = "--baseline linear, which is fitted to each task"
        else:
            more = f" or --value-epochs {2 * epochs}" if config.value_lr else ""
            remedy = f"--value-lr {max(3 * config.value_lr, 1e-3):g}{more}"
        sentence = f"{said}, so it is of no use; a linear fit to observation and time explains {short(best)}."
        return finding("problem", sentence, next=remedy)
    if value < task_fit - PREDICTABLE:
        sentence = f"{said}; a linear fit to each task's own episodes explains {short(task_fit)}."
        return finding("note", sentence, next=f"--baseline linear, or --value-epochs {2 * epochs}")
    return finding("ok", f"{said}; a linear fit to each task's episodes explains {short(task_fit)}.")


def _linear(numbers: dict[str, Any], in_sample: float, held_out: float, alone: bool, probe: Probe) -> Finding:
    finding = partial(Finding, "baseline", numbers=numbers)
    if math.isnan(in_sample):
        return finding("ok", "Returns do not vary within a task, so there is nothing to explain.")
    said = f"The linear baseline explains {short(held_out)} of the variance of returns"
    if alone:
        return finding("ok", f"{said} in the one episode that it is fitted to, which is no test on other data.")
    said = f"{said} on episodes that it was not fitted to"
    if held_out >= USELESS:
        return finding("ok", f"{said}.")
    if in_sample < PREDICTABLE:
        return finding("ok", f"{said}; no fit here explains more.")
    remedy = f"--num-envs {2 * probe.run.config.num_envs}, or --baseline value"
    return finding("note", f"{said} and {short(in_sample)} on its own: it fits noise.", next=remedy)
