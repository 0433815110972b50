"""Diagnosis of a trained run: does adaptation help, and if not, why? Findings in words, with their evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from metarl.algorithms.trials import actor
from metarl.diagnosis import network, run_findings, steps, trials
from metarl.diagnosis.findings import Finding, Interval, does_not_apply, judge_gain, plain
from metarl.diagnosis.probe import DiagnosisConfig, Probe
from metarl.learning.finite import check_environment
from metarl.training.run import Run

NUM_FINDINGS = 9
ORDER = ("problem", "note", "ok", "does not apply")


def diagnose_run(
    run: Run,
    config: DiagnosisConfig | None = None,
    progress: Callable[[float], None] = lambda fraction: None,
) -> dict[str, Any]:
    """Does adaptation help a trained run, and if not, why? All findings and the verdict in a sentence, JSON-able.

    Prints nothing and writes nothing.

    Args:
        run: a trained run, such as `Run.open(folder)`.
        progress: called with the fraction of the findings that are done.

    Raises:
        InputError: for a run that was not trained, an unknown split, or gradient steps of a policy with a memory.
        NonFiniteError: when the environment returns numbers that are not finite.
    """
    run.require_checkpoint()
    probe = Probe.of(run, config or DiagnosisConfig())
    findings: list[Finding] = []
    for finding in found(probe):
        findings.append(finding)
        progress(len(findings) / NUM_FINDINGS)
    return {
        "preset": run.preset,
        "env": run.env_name,
        "algorithm": run.algorithm.name,
        "iteration": run.iteration,
        "split": probe.split,
        "num_tasks": probe.num_tasks,
        "num_envs": probe.num_envs,
        "seed": probe.seed,
        "verdict": min((f.verdict for f in findings), key=ORDER.index),
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
    yield run_findings.training(probe)
    if not bool(algorithm.params.isfinite().all()):
        return
    if algorithm.network is not None:
        yield from _of_trials(probe)
    elif algorithm.inner is not None:
        yield from _of_steps(probe)
    elif algorithm.stages().trial:
        yield from _of_contexts(probe)
    else:
        yield from _of_anything(probe)


def _of_steps(probe: Probe) -> Iterator[Finding]:
    """Of a policy that adapts by gradient steps."""
    adapted = steps.adapt(probe, steps.learner_of(probe), probe.num_steps)
    check_environment(probe.run.env, adapted.trajectories)
    before, at = adapted.trajectories[0], probe.trained_steps
    yield steps.adaptation(probe, adapted)
    yield steps.meta_training(probe, adapted)
    yield steps.inner_lr(probe, adapted)
    yield network.units(probe, before)
    yield network.baseline(probe, before)
    distribution, _ = steps.learner_of(probe).policy.bind(adapted.params[0])(before.inputs, None)
    yield run_findings.entropy(probe, distribution, before.mask)
    yield run_findings.leak(probe, before)
    yield run_findings.gap(probe, _curve(probe, adapted.returns[0], adapted.returns[at]), steps.after_steps(at))


def _of_trials(probe: Probe) -> Iterator[Finding]:
    """Of a policy with a memory."""
    algorithm: Any = probe.run.algorithm
    task, episodes = probe.tasks(probe.split), algorithm.config.num_episodes
    played = trials.trial(probe, task, actor(algorithm.network, probe.generator("actions")))
    check_environment(probe.run.env, [played])
    yield trials.adaptation(probe, task, played)
    yield trials.meta_training(probe, task, played)
    yield does_not_apply("inner learning rate", "A policy with a memory takes no gradient step at test time.")
    yield trials.belief(probe, task, played)
    yield trials.baseline(probe, played)
    yield run_findings.entropy(probe, *trials.start_of_trial(probe, played), remembers=True)
    yield run_findings.leak(probe, None)
    at_end = "of the last episode" if episodes > 1 else "of a pull in the last tenth"
    yield run_findings.gap(probe, _curve(probe, *trials.ends(played.reward, episodes)), at_end)


def _of_contexts(probe: Probe) -> Iterator[Finding]:
    """Of a method that plays trials and does not show its network."""
    algorithm, task = probe.run.algorithm, probe.tasks(probe.split)
    played = trials.play(probe, algorithm, task)
    check_environment(probe.run.env, [played])
    yield trials.adaptation_by_context(probe, task, played)
    yield trials.meta_training(probe, task, played)
    yield does_not_apply("inner learning rate", f"{algorithm.name} takes no gradient step at test time.")
    yield trials.belief(probe, task, played)
    yield does_not_apply("baseline", f"{algorithm.name} uses no baseline.")
    yield trials.spread(probe, played)
    yield run_findings.leak(probe, None)
    ends = trials.ends(played.reward, algorithm.stages().episodes)
    yield run_findings.gap(probe, _curve(probe, *ends), "of the last episode")


def _of_anything(probe: Probe) -> Iterator[Finding]:
    """Of a method that only says how it plays."""
    name = probe.run.algorithm.name
    before, after = _play(probe, probe.split)
    verdict, sentence = judge_gain(gain := Interval.of_change(after, before), None, "through adaptation", "")
    yield Finding("adaptation", verdict, sentence, {"return": Interval.of(after), "gain": gain})
    yield does_not_apply("meta-training", f"{name} does not say how it takes its steps.")
    yield does_not_apply("inner learning rate", f"{name} does not say how it takes its steps.")
    yield network.units(probe, None)
    yield network.baseline(probe, None)
    yield does_not_apply("exploration", f"{name} does not say how it draws its actions.")
    if probe.run.algorithm.informed:
        yield does_not_apply("leak", "The policy is told the task.")
    else:
        yield run_findings.leak(probe, None)
    yield run_findings.gap(probe, _curve(probe, before, after), "after adaptation")


def _curve(probe: Probe, before: Tensor, after: Tensor) -> run_findings.Curve:
    """Returns known for the probe's own split, and played for the others."""
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
        return trials.ends(trajectories[0].reward, stages.episodes)
    return trajectories[0].returns.double().mean(1), trajectories[-1].returns.double().mean(1)
