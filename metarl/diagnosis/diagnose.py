"""Diagnosis of a trained run: does adaptation help, and if not, why? Findings in words, with their evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from envs.errors import require
from metarl.algorithms.recurrent_ppo import actor
from metarl.diagnosis import network as diagnose_network
from metarl.diagnosis import run_findings as diagnose_run
from metarl.diagnosis import steps as diagnose_steps
from metarl.diagnosis import trials as diagnose_trials
from metarl.diagnosis.findings import Finding, Interval, does_not_apply, judge_gain, plain
from metarl.diagnosis.probe import Probe
from metarl.learning.finite import check_environment

FEWEST = 8
"""Tasks below which an interval over them says nothing."""
NUM_FINDINGS = 8
ORDER = ("problem", "note", "ok", "does not apply")


def diagnose(probe: Probe, progress: Callable[[float], None] = lambda fraction: None) -> dict[str, Any]:
    """All findings of a run, and the verdict in a sentence; JSON-able.

    Args:
        progress: is told the part of the findings that is made.

    Raises:
        InputError: when nothing was trained, or with too few tasks.
        NonFiniteError: when the environment returns numbers that are not finite.
    """
    run = probe.run
    trained = (run.path / "checkpoint.pt").exists()
    require(
        trained, f"{run.path} holds no checkpoint, so nothing was trained that could be diagnosed; "
        f"go on with it by train.py --resume {run.path}.",
    )  # fmt: skip
    require(probe.num_tasks >= FEWEST, f"num_tasks must be at least {FEWEST}, not {probe.num_tasks}.")
    findings: list[Finding] = []
    for finding in found(probe):
        findings.append(finding)
        progress(len(findings) / NUM_FINDINGS)
    verdict = min((f.verdict for f in findings), key=ORDER.index)
    return {
        "preset": run.preset,
        "env": f"{run.config.env}/{run.config.env_preset}",
        "algorithm": run.algorithm.name,
        "iteration": run.iteration,
        "split": probe.split,
        "num_tasks": probe.num_tasks,
        "num_envs": probe.num_envs,
        "seed": probe.seed,
        "verdict": verdict,
        "sentence": headline(findings),
        "findings": [plain(vars(f)) for f in findings],
    }


def headline(findings: list[Finding]) -> str:
    """Does adaptation help, and what to look at."""
    gain = next(f for f in findings if f.name == "adaptation") if len(findings) > 1 else findings[0]
    said = gain.sentence.split(": ")[0].split(", but")[0].rstrip(".")
    for verdict in ("problem", "note"):
        names = [f.name for f in findings if f.verdict == verdict and f is not gain]
        if names:
            more = f"{verdict}{'s' * (len(names) > 1)}: {', '.join(names)}"
            return f"{said}. {more[0].upper()}{more[1:]}."
    return f"{said}. " + ("Nothing else was found." if gain.verdict != "ok" else "No problem was found.")


def found(probe: Probe) -> Iterator[Finding]:
    """The findings, one after another."""
    algorithm = probe.run.algorithm
    yield diagnose_run.training(probe)
    if not bool(algorithm.params.isfinite().all()):
        return
    if algorithm.network is not None:
        yield from _of_trials(probe)
    elif algorithm.inner is not None:
        yield from _of_steps(probe)
    else:
        yield from _of_anything(probe)


def _of_steps(probe: Probe) -> Iterator[Finding]:
    """Of a policy that adapts by gradient steps."""
    adapted = diagnose_steps.adapt(probe, probe.num_steps)
    check_environment(probe.run.env, adapted.trajectories)
    before, at = adapted.trajectories[0], probe.trained_steps
    yield diagnose_steps.adaptation(probe, adapted)
    yield diagnose_steps.step_size(probe, adapted)
    yield diagnose_network.units(probe, before)
    yield diagnose_network.baseline(probe, before)
    distribution, _ = diagnose_steps.learner_of(probe).policy.bind(adapted.params[0])(before.inputs, None)
    yield diagnose_run.entropy(probe, distribution, before.mask)
    yield diagnose_run.leak(probe, before)
    yield diagnose_run.gap(probe, _curve(probe, adapted.returns[0], adapted.returns[at]), diagnose_steps.steps_said(at))


def _of_trials(probe: Probe) -> Iterator[Finding]:
    """Of a policy that adapts by what it remembers in a trial."""
    algorithm: Any = probe.run.algorithm
    task, episodes = probe.tasks(probe.split), algorithm.config.num_episodes
    played = diagnose_trials.trial(probe, task, actor(algorithm.network, probe.generator("actions")))
    check_environment(probe.run.env, [played])
    yield diagnose_trials.adaptation(probe, task, played)
    yield does_not_apply("inner step size", "A policy with a memory takes no gradient step at test time.")
    yield does_not_apply("hidden units", "Its units are neither tanh nor ReLU.")
    yield diagnose_trials.baseline(probe, played)
    yield diagnose_run.entropy(probe, *diagnose_trials.start_of_trial(probe, played), remembers=True)
    yield diagnose_run.leak(probe, None)
    at_end = "of the last episode" if episodes > 1 else "of a pull in the last tenth"
    yield diagnose_run.gap(probe, _curve(probe, *diagnose_trials.ends(played.reward, episodes)), at_end)


def _of_anything(probe: Probe) -> Iterator[Finding]:
    """Of a method that says only how it plays."""
    name = probe.run.algorithm.name
    before, after = _play(probe, probe.split)
    verdict, sentence = judge_gain(gain := Interval.of_change(after, before), None, "through adaptation", "")
    yield Finding("adaptation", verdict, sentence, {"return": Interval.of(after), "gain": gain})
    yield does_not_apply("inner step size", f"{name} does not say how it takes its steps.")
    yield diagnose_network.units(probe, None)
    yield diagnose_network.baseline(probe, None)
    yield does_not_apply("exploration", f"{name} does not say how it draws its actions.")
    if probe.run.algorithm.informed:
        yield does_not_apply("leak", "The policy is told the task.")
    else:
        yield diagnose_run.leak(probe, None)
    yield diagnose_run.gap(probe, _curve(probe, before, after), "after adaptation")


def _curve(probe: Probe, before: Tensor, after: Tensor) -> diagnose_run.Curve:
    """What is known of the probe's own split, and what is played of the others."""
    return lambda split: (before, after) if split == probe.split else _play(probe, split)


def _play(probe: Probe, split: str) -> tuple[Tensor, Tensor]:
    """Return of each task [N] before and after adaptation, as evaluation plays."""
    algorithm = probe.run.algorithm
    stages = algorithm.stages()
    stages = stages if stages.trial else algorithm.stages(probe.trained_steps)
    play = algorithm.play(probe.run.env, probe.num_envs, probe.generator("other tasks"), stages)
    trajectories = play(probe.tasks(split), False)
    check_environment(probe.run.env, trajectories)
    if stages.trial:
        return diagnose_trials.ends(trajectories[0].reward, stages.episodes)
    return trajectories[0].returns.double().mean(1), trajectories[-1].returns.double().mean(1)
