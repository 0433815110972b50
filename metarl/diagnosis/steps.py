"""What is found about adaptation by gradient steps: what it gains, and whether its step size is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.special import stdtr
from torch import Tensor

from envs.structs import Struct
from metarl.algorithms.base import InnerLearner
from metarl.diagnosis.findings import Finding, Interval, judge_gain, short
from metarl.diagnosis.probe import Probe, other_tasks
from metarl.learning.rollout import Adapter, Trajectory, collect, policy_actor, rollout

SCALES = (0.0, 1 / 64, 1 / 16, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 16.0, 64.0)
"""Inner step sizes that are tried, in units of the run's own."""
UNIT = 0.1
"""Their unit where the run's own is 0."""
FAR = 4.0
"""A step size is wrong when one this many times as large or small is better..."""
MATERIAL = 0.8
"""...and its own step brings less than this part of what the better one brings."""

CHANCE = 0.05
"""Probability that the best of as many sizes is better by chance (Bonferroni), below which it counts."""


@dataclass(frozen=True, eq=False)
class Adapted:
    """A policy before adaptation and after each of K gradient steps, on N tasks."""

    task: Struct
    trajectories: list[Trajectory]  # K + 1 of them
    params: list[Tensor]  # [N, P] each

    @property
    def returns(self) -> Tensor:
        """Mean return of each task at each stage [K + 1, N].

        In float64, so that means over different numbers of equal lanes are equal.
        """
        return torch.stack([t.returns.double().mean(1) for t in self.trajectories])


def learner_of(probe: Probe) -> InnerLearner:
    inner = probe.run.algorithm.inner
    assert inner is not None
    return inner


def adapt(probe: Probe, num_steps: int) -> Adapted:
    """Play as evaluation does, and keep the parameters that played."""
    inner = learner_of(probe)
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


def played_returns(probe: Probe, params: Tensor, task: Struct, stream: str) -> Tensor:
    """Mean return [N] of policies with `params` [N, P], each on its task; the same random numbers for each stream."""
    generator = probe.generator(stream)
    act = policy_actor(learner_of(probe).policy, params, generator)
    return rollout(probe.run.env, act, task, probe.judges, generator).returns.double().mean(1)


def steps_said(count: int) -> str:
    return f"after {count} gradient step{'s' * (count != 1)}"


def adaptation(probe: Probe, adapted: Adapted) -> Finding:
    """The gain on the task's own data, and with a control: parameters that adapted to another task, played on this one.

    It is judged after as many steps as training takes.
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
    lr = configured_rate(probe)
    if diverged:
        return Finding(
            "adaptation", "problem", f"Adaptation diverges: on {diverged} of {len(task)} tasks the return is not "
            f"finite {steps_said(at)}.", {**numbers, "diverged": diverged}, f"--inner-lr {lr / 10:g}",
        )  # fmt: skip
    verdict, sentence = judge_gain(gains[at - 1], specific[at - 1], steps_said(at), "with another task's data")
    remedy = _remedy(probe, verdict, gains[at - 1])
    later = Interval.of_change(own[-1], own[at])
    if verdict == "ok" and later.negative:
        verdict, remedy = "note", f"--num-inner-steps {probe.num_steps} in a new run, or fewer steps at test"
        sentence = f"{sentence.removesuffix('.')}; more steps then hurt, by {later} from {at} to {len(own) - 1}."
    return Finding("adaptation", verdict, sentence, numbers, remedy)


def _remedy(probe: Probe, verdict: str, gain: Interval) -> str | None:
    config = probe.run.config
    if verdict == "ok":
        return None
    if verdict == "note":
        return f"diagnose.py --num-tasks {4 * probe.num_tasks}"
    if gain.positive:
        return f"--num-iterations {2 * config.num_iterations}: a start that is still poor gains from any task's data"
    return f"the other problems first; then --num-envs {2 * config.num_envs}, for inner gradients with less noise"


def step_size(probe: Probe, adapted: Adapted) -> Finding:
    """The return along the line θ - s α ∇L, for steps of other sizes on the same data."""
    inner = learner_of(probe)
    rate = None if inner.inner_lr else UNIT
    before, data = adapted.params[0], adapted.trajectories[0]
    line = []
    for scale in SCALES:
        params = before if scale == 0 else inner.step(scale, rate)(before, None, data)[0]
        line.append(played_returns(probe, params, adapted.task, "line"))
    return judge_line(torch.stack(line), inner.inner_lr, configured_rate(probe), probe.run.config.num_envs)


def configured_rate(probe: Probe) -> float:
    """`inner_lr` of the run's configuration, which learned rates start from."""
    algorithm: Any = probe.run.config.algorithm
    return algorithm.inner_lr


def judge_line(line: Tensor, rate: float, inner_lr: float, num_envs: int, scales: Sequence[float] = SCALES) -> Finding:
    """Too small or too large?

    Args:
        line: return of each task after a step of each of `scales` [S, N], with the same random numbers.
        rate: the step size that a scale of 1 stands for; 0 where it is 0 and scales are in units of `UNIT`.
        inner_lr, num_envs: options of the run that a suggestion multiplies.
    """
    name = "inner step size"
    finite = line.isfinite().all(1)
    mean = torch.where(finite, line.mean(1), -torch.inf)
    best, one, zero = int(mean.argmax()), scales.index(1.0), scales.index(0.0)
    scale, better = scales[best], Interval.of_change(line[best], line[one])
    brings = Interval.of_change(line[best], line[zero])
    unit = rate or UNIT
    numbers = {
        "step size": rate,
        "return by size": {short(s * unit): float(x) for s, x in zip(scales, line.mean(1), strict=True)},
        "best": scale * unit,
        "best minus present": better,
        "best minus no step": brings,
    }
    numbers_said = f"the best of those tried, {short(scale * unit)}, "
    if rate == 0:
        sentence = "The inner step size is 0, so adaptation changes nothing"
        found = scale > 0 and brings.positive
        more = f"; along the gradient {numbers_said}would bring {brings}." if found else "; nor would a step help here."
        return Finding(name, "problem", sentence + more, numbers, f"--inner-lr {(scale if found else 1) * unit:g}")
    if not finite[one]:
        return Finding(
            name, "problem", f"The inner step size {short(rate)} is too large: the return after it is not finite.",
            numbers, f"--inner-lr {max(scale, min(s for s in scales if s)) * inner_lr:g}",
        )  # fmt: skip
    material = float(mean[one] - mean[zero]) < MATERIAL * float(mean[best] - mean[zero]) or scale == 0
    difference = (line[best] - line[one]).double()
    error = float(difference.std()) / len(difference) ** 0.5 + 1e-12
    chance = (len(scales) - 1) * float(stdtr(len(difference) - 1, -float(difference.mean()) / error))
    if better.positive and chance < CHANCE and material and (scale >= FAR or scale <= 1 / FAR):
        if scale == 0:
            return Finding(
                name, "problem", f"The inner step size {short(rate)} is too large, or its gradient is noise: not to "
                f"step at all is better by {better}, and no smaller step improves on that.", numbers,
                f"--inner-lr {inner_lr / 64:g}, or --num-envs {2 * num_envs}",
            )  # fmt: skip
        kind = "small" if scale > 1 else "large"
        return Finding(
            name, "problem", f"The inner step size {short(rate)} is too {kind}: {numbers_said}is better by {better}.",
            numbers, f"--inner-lr {scale * inner_lr:g}",
        )  # fmt: skip
    if not brings.positive:
        return Finding(
            name, "note", f"No step along the inner gradient changes the return beyond chance, from "
            f"{short(scales[1] * unit)} to {short(scales[-1] * unit)}.", numbers,
            f"--num-envs {2 * num_envs}, for inner gradients with less noise",
        )  # fmt: skip
    if scale == 1:
        return Finding(name, "ok", f"The inner step size {short(rate)} is the best of those tried.", numbers)
    return Finding(
        name, "ok", f"The inner step size {short(rate)} is near the best: {numbers_said}differs by {better}.", numbers
    )
