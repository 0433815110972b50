"""Findings about policies with a memory: what they gain in a trial, and whether the memory is the reason."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor

from envs.fields import field_types
from envs.structs import Struct
from metarl.algorithms.base import Algorithm
from metarl.algorithms.trials import actor
from metarl.diagnosis.findings import Finding, Interval, does_not_apply, judge_gain, short
from metarl.diagnosis.probe import Probe, other_tasks, task_columns
from metarl.diagnosis.run_findings import HINTS, decodable
from metarl.diagnosis.untrained import fresh, judge_start, not_comparable
from metarl.evaluation.curve import play_references
from metarl.learning.rollout import Actor, Trajectory, rollout
from metarl.policies.distributions import Distribution
from metarl.policies.recurrent import TrialNetwork

NARROWER = 0.95
"""A belief that ends a trial with more than this fraction of its first standard deviation does not narrow."""
NARROW = 0.1
"""Actions that are spread over less than this fraction of half their range explore little."""


def ends(reward: Tensor, num_episodes: int) -> tuple[Tensor, Tensor]:
    """What a trial earns at its start and at its end [N].

    The returns of its first and last episode; where it is one episode, the mean reward of the first and the last tenth
    of its steps. `reward` is [N, num_episodes * H, E] or without lanes.
    """
    reward = reward.double()
    reward = reward.mean(-1) if reward.dim() == 3 else reward
    if num_episodes > 1:
        parts = reward.unflatten(1, (num_episodes, -1)).sum(2)
        return parts[:, 0], parts[:, -1]
    tenth = max(1, reward.shape[1] // 10)
    return reward[:, :tenth].mean(1), reward[:, -tenth:].mean(1)


def stages(num_episodes: int) -> str:
    return "from the first to the last episode" if num_episodes > 1 else "a pull from the first to the last tenth"


def forgetful(network: TrialNetwork, generator: Generator) -> Actor:
    """Acts with a memory that is emptied whenever an episode starts.

    The first step of an episode looks like that of a trial; from the second on the policy knows the time again.
    """

    def act(inputs: Any, state: Any, memory: Any) -> tuple[Tensor, Any]:
        t, memory = memory or (0, None)
        rows = inputs.map(lambda x: x.flatten(0, 1))
        if t % network.horizon == 0:
            outputs, fresh = network.step(rows, None)
            memory = dataclasses.replace(fresh, t=fresh.t + t)
        else:
            outputs, memory = network.step(rows, memory)
        return network.distribution(outputs).sample(generator).unflatten(0, inputs.obs.shape[:2]), (t + 1, memory)

    return act


def repeated(action: Tensor) -> Actor:
    """Takes the actions [N, T, E, ...] of another trial."""
    return lambda inputs, state, memory: (action[:, memory or 0], (memory or 0) + 1)


def trial(probe: Probe, task: Struct, act: Actor) -> Trajectory:
    algorithm: Any = probe.run.algorithm
    generator = probe.generator("trials")
    return rollout(probe.run.env, act, task, probe.num_envs, generator, algorithm.config.num_episodes)


def play(probe: Probe, algorithm: Algorithm, task: Struct) -> Trajectory:
    """A trial as a method plays it, which need not show its network."""
    env, stages = probe.run.env, algorithm.stages()
    return algorithm.play(env, probe.num_envs, probe.generator("trials"), stages)(task, False)[0]


def adaptation_by_context(probe: Probe, task: Struct, played: Trajectory) -> Finding:
    """The same for a method that only plays: the control, if it has one, adapts to what was seen on another task."""
    other = torch.as_tensor(other_tasks(probe.run.env, task, probe.seed), device=probe.run.device)
    given = probe.run.env, probe.num_envs, probe.generator("trials"), played, other
    control = probe.run.algorithm.play_control(*given)
    without = None if control is None else control(task, False)[0]
    return judge_trial(probe, task, played, without, "with another task's context")


def adaptation(probe: Probe, task: Struct, played: Trajectory) -> Finding:
    """The gain within the trial, against references, and with a control.

    With several episodes the control empties the memory before each; with one it repeats the actions that the policy
    chose on another task, where it saw that task's rewards.
    """
    algorithm: Any = probe.run.algorithm
    episodes = algorithm.config.num_episodes
    if episodes > 1:
        without = forgetful(algorithm.network, probe.generator("control"))
        control = "with the memory emptied at each episode's start"
    else:
        partner = torch.as_tensor(other_tasks(probe.run.env, task, probe.seed), device=probe.run.device)
        without, control = repeated(played.action[partner]), "with actions chosen on another task's rewards"
    return judge_trial(probe, task, played, trial(probe, task, without), control)


def judge_trial(probe: Probe, task: Struct, played: Trajectory, without: Trajectory | None, control: str) -> Finding:
    """What a trial gains, also beyond a control, and beside references."""
    episodes = probe.run.algorithm.stages().episodes
    first, last = ends(played.reward, episodes)
    other = last if without is None else ends(without.reward, episodes)[1]
    gain, specific = Interval.of_change(last, first), Interval.of_change(last, other)
    references = {}
    others = play_references(probe.run.env, task, probe.num_envs, probe.generator("references"), episodes)
    for name, other_played in others.items():
        references[name] = [float(x.mean()) for x in ends(other_played.rewards.flatten(1), episodes)]
    numbers = {
        "start": Interval.of(first),
        "end": Interval.of(last),
        "gain": gain,
        **({"gain beyond the control": specific} if without else {}),
        "references at start and end": references,
        "tasks": len(task),
    }
    verdict, sentence = judge_gain(gain, None if without is None else specific, stages(episodes), control)
    best = max(references, key=lambda name: references[name][1])
    level = f"{short(float(last.mean()))}, {best} {short(references[best][1])}, random {short(references['random'][1])}"
    sentence = f"{sentence.removesuffix('.')}; at the end it earns {level}."
    return Finding("adaptation", verdict, sentence, numbers, _remedy(probe, verdict, gain))


def meta_training(probe: Probe, task: Struct, played: Trajectory) -> Finding:
    """The return of the trial, as far as the objective counts it, against that of the untrained network."""
    if (reason := not_comparable(probe)) is not None:
        return reason
    algorithm = fresh(probe)
    if algorithm.network is None:
        untrained = play(probe, algorithm, task)
    else:
        untrained = trial(probe, task, actor(algorithm.network, probe.generator("actions")))
    free = probe.free_episodes
    counted = slice(free * probe.run.env.horizon, None)
    earned, before = (t.reward[:, counted].double().sum(1).mean(1).unsqueeze(0) for t in (played, untrained))
    return judge_start(earned, before, 0, "after the free episodes of a trial" if free else "in a trial", probe)


def _remedy(probe: Probe, verdict: str, gain: Interval) -> str | None:
    config, network = probe.run.config, probe.run.algorithm.network
    if verdict == "ok":
        return None
    if network is not None and not network.remembers:
        return "--memory linear, in a new run: this one has none"
    if verdict == "note":
        return f"metarl diagnose --num-tasks {4 * probe.num_tasks}"
    longer = f"--num-iterations {2 * config.num_iterations}"
    if network is None or "entropy_coef" not in field_types(config.algorithm):
        return longer
    return f"{longer}, or --entropy-coef {2 * config.algorithm.entropy_coef or 0.01:g}"


@torch.no_grad()
def start_of_trial(probe: Probe, played: Trajectory) -> tuple[Distribution, Tensor]:
    """Action distributions and mask of the first episode, or the first tenth of a trial that is one: [B, T, ...]."""
    algorithm: Any = probe.run.algorithm
    rows = played.map(lambda x: x.transpose(1, 2).flatten(0, 1))
    outputs = algorithm.outputs(rows.inputs)
    length = probe.run.env.horizon
    length = length if algorithm.config.num_episodes > 1 else max(1, length // 10)
    return algorithm.network.distribution(outputs[:, :length]).detach(), rows.mask[:, :length]


def belief(probe: Probe, task: Struct, played: Trajectory) -> Finding:
    """Does the belief about the task narrow in a trial, and does it tell the task? Without one: no hidden units."""
    name, algorithm = "belief", probe.run.algorithm
    found = algorithm.belief(played.map(lambda x: x.transpose(1, 2).flatten(0, 1)).inputs)
    if found is None:
        return does_not_apply("hidden units", "Its units are neither tanh nor ReLU.")
    mean, std = found.unflatten(0, (-1, probe.num_envs)).unbind(2)  # [N, E, T, L]
    at = {"first step": 0, "end of the first episode": probe.run.env.horizon - 1, "end": -1}
    numbers: dict[str, Any] = {"mean standard deviation": {k: float(std[:, :, t].mean()) for k, t in at.items()}}
    widths = list(numbers["mean standard deviation"].values())
    x, tells = mean[:, :, -1].double().cpu().numpy(), {"": 0.0}
    for field, columns in task_columns(probe.run.env, task).items():
        if np.ptp(columns, axis=0).any():
            one_hot = isinstance(probe.run.env.task_space[field], spaces.Discrete)
            tells[field] = decodable(x, columns, together=one_hot)
    field = max(tells, key=tells.__getitem__)
    numbers["R² of the task from its mean at the end"] = {k: v for k, v in tells.items() if k}
    finding = partial(Finding, name, numbers=numbers)
    said = f"its mean standard deviation is {short(widths[0])} at the first step and {short(widths[-1])} at the end"
    config = probe.run.config
    options = config.algorithm if "kl_coef" in field_types(config.algorithm) else config.policy
    smaller = f"a new run with --kl-coef {getattr(options, 'kl_coef', 1.0) / 2:g}, or with more meta-iterations"
    if widths[-1] > NARROWER * widths[0]:
        return finding("problem", f"The belief does not narrow: {said}, so no trial tells it the task.", next=smaller)
    read = f"a linear fit to its mean explains {tells[field]:.2f} of the variance of the task's {field or 'fields'}"
    if tells[field] < HINTS:
        return finding("note", f"The belief narrows, but hardly tells the task: {said}; {read} at most.", next=smaller)
    return finding("ok", f"The belief narrows and tells the task: {said}; {read}, on held-out tasks.")


def spread(probe: Probe, played: Trajectory) -> Finding:
    """How widely actions of the first episode are spread, of a method that only plays."""
    name, space = "exploration", probe.run.env.action_space
    if not (isinstance(space, spaces.Box) and space.is_bounded()):
        return does_not_apply(name, f"{probe.run.algorithm.name} does not say how it draws its actions.")
    action = played.action[:, : probe.run.env.horizon]
    taken = action[played.mask[:, : probe.run.env.horizon] > 0].flatten(1).double()
    half = torch.as_tensor(space.high - space.low, device=taken.device).flatten() / 2
    share = float((taken.std(0) / half).mean())
    finding = partial(Finding, name, numbers={"spread as a fraction of half the action range": share})
    said = f"in the first episode the std of all its actions is {short(share)} of half the action range"
    if share >= NARROW:
        return finding("ok", f"The policy explores: {said}.")
    return finding("note", f"The policy explores little: {said}.", next="a new run with fewer meta-iterations")


def baseline(probe: Probe, played: Trajectory) -> Finding:
    """How well the value output predicts the trial's remaining rewards, on held-out tasks."""
    algorithm: Any = probe.run.algorithm
    if not hasattr(algorithm, "batch"):
        return does_not_apply("baseline", f"{algorithm.name} learns no values.")
    explained = float(algorithm.batch(played.map(lambda x: x.transpose(1, 2).flatten(0, 1)))[1])
    finding = partial(Finding, "baseline", numbers={"explained variance": explained})
    said = f"The value output explains {short(explained)} of the variance of its targets, the mean rewards to come"
    if explained > 0:
        return finding("ok", f"{said}.")
    coef = 2 * algorithm.config.value_coef or 0.5
    return finding("note", f"{said}: a constant would do as well.", next=f"--value-coef {coef:g}")
