"""Findings about adaptation by gradient steps: what it gains, and whether its learning rate is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from envs.structs import Struct
from metarl.algorithms.base import InnerLearner
from metarl.diagnosis.findings import Finding, Interval, judge_gain, short
from metarl.diagnosis.probe import Probe, other_tasks
from metarl.diagnosis.untrained import fresh, judge_start, not_comparable
from metarl.learning.rollout import Adapter, Trajectory, collect, policy_actor, rollout

SCALES = (0.0, 1 / 64, 1 / 16, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 16.0, 64.0)
"""Inner learning rates that are tried, in units of the run's own, or of `UNIT` where that is 0."""
UNIT = 0.1
FAR = 4.0
"""A learning rate is wrong if one at least this many times larger or smaller is better..."""
MATERIAL = 0.8
"""...and its own step gains less than this fraction of what the better one gains."""
CHANCE = 0.05
"""A better rate counts if its p-value, with Bonferroni's correction for as many rates, is below this."""


@dataclass(frozen=True, eq=False)
class Adapted:
    """A policy before adaptation and after each of K gradient steps, on N tasks."""

    task: Struct
    trajectories: list[Trajectory]  # K + 1 of them
    params: list[Tensor]  # [N, P] each

    @property
    def returns(self) -> Tensor:
        """Mean return of each task in each stage [K + 1, N].

        In float64, so that means over different numbers of equal lanes are equal.
        """
        return torch.stack([t.returns.double().mean(1) for t in self.trajectories])


def learner_of(probe: Probe) -> InnerLearner:
    inner = probe.run.algorithm.inner
    assert inner is not None
    return inner


def adapt(probe: Probe, inner: InnerLearner, num_steps: int) -> Adapted:
    """Play as evaluation does, with the same random numbers for every learner, and keep the parameters that played."""
    task = probe.tasks(probe.split)
    params = [inner.params.detach().expand(len(task), -1)]

    def kept(step: Adapter) -> Adapter:
        def adapter(before: Tensor, memory: Any, trajectory: Trajectory) -> tuple[Tensor, Any]:
            after, memory = step(before, memory, trajectory)
            params.append(after)
            return after, memory

        return adapter

    adapters = [kept(step) for step in inner.adapters(num_steps)]
    generator = probe.generator("adaptation")
    played = collect(probe.run.env, inner.policy, inner.params, task, adapters, probe.num_envs, generator)
    return Adapted(task, played, params)


def meta_training(probe: Probe, adapted: Adapted) -> Finding:
    """The learned start against the one that training began with, with the same inner steps."""
    if (reason := not_comparable(probe)) is not None:
        return reason
    start = fresh(probe).inner
    assert start is not None
    at = probe.trained_steps
    return judge_start(adapted.returns, adapt(probe, start, probe.num_steps).returns, at, after_steps(at), probe)


def played_returns(probe: Probe, params: Tensor, task: Struct, stream: str) -> Tensor:
    """Mean return [N] of policies with `params` [N, P], each on its task; the same random numbers for each stream."""
    generator = probe.generator(stream)
    act = policy_actor(learner_of(probe).policy, params, generator)
    return rollout(probe.run.env, act, task, probe.judges, generator).returns.double().mean(1)


def after_steps(count: int) -> str:
    return f"after {count} gradient step{'s' * (count != 1)}"


def adaptation(probe: Probe, adapted: Adapted) -> Finding:
    """The gain from the task's own data, against a control: parameters adapted to another task, played on this one.

    Judged after as many steps as training takes.
    """
    task, at = adapted.task, probe.trained_steps
    partner = torch.as_tensor(other_tasks(probe.run.env, task, probe.seed), device=probe.run.device)
    foreign = torch.stack([played_returns(probe, p[partner], task, "control") for p in adapted.params[1:]])
    own = adapted.returns
    diverged = int((~own[: at + 1].isfinite()).any(0).sum())
    gains = [Interval.of_change(row, own[0]) for row in own[1:]]
    specific = [Interval.of_change(a, b) for a, b in zip(own[1:], foreign, strict=True)]
    numbers = {
        "return after each step": [Interval.of(row) for row in own],
        "gain after each step": gains,
        "gain beyond the control": specific,
        "steps judged": at,
        "tasks": len(task),
    }
    finding = partial(Finding, "adaptation")
    if diverged:
        sentence = (
            f"Adaptation diverges: on {diverged} of {len(task)} tasks the return is not finite {after_steps(at)}."
        )
        return finding("problem", sentence, {**numbers, "diverged": diverged}, f"--inner-lr {configured(probe) / 10:g}")
    verdict, sentence = judge_gain(gains[at - 1], specific[at - 1], after_steps(at), "with another task's data")
    later = Interval.of_change(own[-1], own[at])
    if verdict == "ok" and later.negative:
        sentence = f"{sentence.removesuffix('.')}; further steps hurt, by {later} from {at} to {len(own) - 1}."
        return finding("note", sentence, numbers, f"--num-inner-steps {probe.num_steps} in a new run, or fewer at test")
    return finding(verdict, sentence, numbers, _remedy(probe, verdict, gains[at - 1]))


def _remedy(probe: Probe, verdict: str, gain: Interval) -> str | None:
    config = probe.run.config
    if verdict == "ok":
        return None
    if verdict == "note":
        return f"metarl diagnose --num-tasks {4 * probe.num_tasks}"
    if gain.positive:
        return f"--num-iterations {2 * config.num_iterations}: a poor initialization gains from any task's data"
    return f"the other problems first; then --num-envs {2 * config.num_envs}, for less noisy inner gradients"


def inner_lr(probe: Probe, adapted: Adapted) -> Finding:
    """The return along the line θ - s α ∇L, for steps of other sizes on the same data."""
    inner = learner_of(probe)
    rate = None if inner.inner_lr else UNIT
    before, data = adapted.params[0], adapted.trajectories[0]
    line = []
    for scale in SCALES:
        params = before if scale == 0 else inner.step(scale, rate)(before, None, data)[0]
        line.append(played_returns(probe, params, adapted.task, "line"))
    return judge_line(torch.stack(line), inner.inner_lr, configured(probe), probe.run.config.num_envs)


def configured(probe: Probe) -> float:
    """`inner_lr` of the run's configuration, at which learned rates are initialized."""
    algorithm: Any = probe.run.config.algorithm
    return algorithm.inner_lr


def judge_line(line: Tensor, rate: float, inner_lr: float, num_envs: int, scales: Sequence[float] = SCALES) -> Finding:
    """Too small or too large?

    Args:
        line: return of each task after a step of each of `scales` [S, N], with the same random numbers.
        rate: the learning rate of scale 1; where it is 0, scales are in units of `UNIT`.
        inner_lr, num_envs: options of the run that a suggestion multiplies.
    """
    finite = line.isfinite().all(1)
    mean = torch.where(finite, line.mean(1), -torch.inf)
    best, one, zero = int(mean.argmax()), scales.index(1.0), scales.index(0.0)
    scale, better = scales[best], Interval.of_change(line[best], line[one])
    gain = Interval.of_change(line[best], line[zero])
    unit = rate or UNIT
    numbers = {
        "inner learning rate": rate,
        "return by rate": {short(s * unit): float(x) for s, x in zip(scales, line.mean(1), strict=True)},
        "best rate": scale * unit,
        "gain of the best over this one": better,
        "gain of the best over no step": gain,
    }
    finding = partial(Finding, "inner learning rate", numbers=numbers)
    best_rate, own = f"the best of those tried, {short(scale * unit)},", f"The inner learning rate {short(rate)} is"
    if rate == 0:
        found = scale > 0 and gain.positive
        more = f"along the gradient {best_rate} would gain {gain}" if found else "a step would not help here either"
        sentence = f"The inner learning rate is 0, so adaptation changes nothing; {more}."
        return finding("problem", sentence, next=f"--inner-lr {(scale if found else 1) * unit:g}")
    if not finite[one]:
        lower = max(scale, min(s for s in scales if s)) * inner_lr
        return finding(
            "problem", f"{own} too large: the return after a step is not finite.", next=f"--inner-lr {lower:g}"
        )
    material = float(mean[one] - mean[zero]) < MATERIAL * float(mean[best] - mean[zero]) or scale == 0
    difference = (line[best] - line[one]).double()
    error = float(difference.std()) / len(difference) ** 0.5 + 1e-12
    from scipy.special import stdtr

    chance = (len(scales) - 1) * float(stdtr(len(difference) - 1, -float(difference.mean()) / error))
    if better.positive and chance < CHANCE and material and (scale >= FAR or scale <= 1 / FAR):
        if scale == 0:
            sentence = (
                f"{own} too large, or the gradient is noise: no step at all is better by {better}, and no smaller "
            )
            remedy = f"--inner-lr {inner_lr / 64:g}, or --num-envs {2 * num_envs}"
            return finding("problem", f"{sentence}rate improves on that.", next=remedy)
        sentence = f"{own} too {'small' if scale > 1 else 'large'}: {best_rate} is better by {better}."
        return finding("problem", sentence, next=f"--inner-lr {scale * inner_lr:g}")
    if not gain.positive:
        tried = f"{short(scales[1] * unit)} to {short(scales[-1] * unit)}"
        sentence = f"No step along the inner gradient changes the return beyond chance, at rates from {tried}."
        return finding("note", sentence, next=f"--num-envs {2 * num_envs}, for less noisy inner gradients")
    near = "the best of those tried" if scale == 1 else f"near the best: {best_rate} differs by {better}"
    return finding("ok", f"{own} {near}.")
