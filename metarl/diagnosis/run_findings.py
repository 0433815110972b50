"""Findings about any run: its training, its exploration, what observations reveal of the task, other tasks."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from envs.contract import all_references
from envs.fields import field_types
from envs.kinds import counts
from metarl.diagnosis.findings import Finding, Interval, Verdict, does_not_apply, short
from metarl.diagnosis.probe import Probe, task_columns
from metarl.learning.rollout import Trajectory, reference_rollout
from metarl.policies.distributions import Categorical, DiagGaussian, Distribution, MultiCategorical
from metarl.training import metrics_log

SLOPE_ROWS = 8
"""Fewest meta-iterations from which a trend is read."""
TREND = 0.01
"""A slope with a p-value below this is a trend."""


def training(probe: Probe) -> Finding:
    """How far the run got, and whether its return still changes."""
    run = probe.run
    done, planned = run.iteration, run.config.num_iterations
    numbers: dict[str, Any] = {"iterations": done, "planned": planned}
    finding = partial(Finding, "training", numbers=numbers)
    resume, said = f"--resume {run.path}", f"{done} of {planned} meta-iterations are done"
    verdict: Verdict = "note" if done < planned else "ok"
    pretraining = run.config.algorithm.pretrain_iterations
    if 0 < done <= pretraining:
        sentence = f"{said}, all of them pretraining without inner steps, which lasts {pretraining}."
        return finding("problem", sentence, next=f"{resume} --num-iterations {max(planned, 2 * pretraining)}")
    values = _training_returns(probe)
    if (bad := sum(not math.isfinite(x) for x in values)) or not bool(run.algorithm.params.isfinite().all()):
        where = f"{bad} training returns are" if bad else "the parameters are"
        return finding(
            "problem", f"{said}, and {where} not finite.", next=f"a new run with {probe.smaller_outer_steps}"
        )
    remedy = resume if done < planned else None
    last = np.array(values[-max(SLOPE_ROWS, len(values) // 4) :])
    if len(last) < SLOPE_ROWS:
        return finding(verdict, f"{said}; too few are logged to see a trend.", next=remedy)
    from scipy.stats import linregress

    fit = linregress(np.arange(len(last)), last)
    change, error = fit.slope * (len(last) - 1), fit.stderr * (len(last) - 1)
    numbers |= {"change of the training return": change, "standard error": error, "p": float(fit.pvalue)}
    trend = f"over the last {len(last)} the training return changed by {short(change, '+')} ± {short(error)}"
    if change > 0 and fit.pvalue < TREND:
        remedy = f"{resume} --num-iterations {planned if done < planned else 2 * planned}"
        return finding("note", f"{said} and it still rises: {trend}.", next=remedy)
    if change < 0 and fit.pvalue < TREND:
        remedy = f"a new run with --num-iterations {max(1, done // 2)}, or with {probe.smaller_outer_steps}"
        return finding("note", f"{said} and it falls: {trend}.", next=remedy)
    return finding(verdict, f"{said}; {trend}, which is no trend.", next=remedy)


def _training_returns(probe: Probe) -> list[float]:
    """From metrics.jsonl: the return after the last inner step, or of the mean episode of a trial that counts."""
    rows = [row for k, row in metrics_log.read(probe.run.path / "metrics.jsonl").items() if k <= probe.run.iteration]
    returns = [[value for name, value in row.items() if name.startswith("return_")] for row in rows]
    returns = [row for row in returns if row and len(row) == len(returns[-1])]  # pretraining has fewer stages
    return [
        float(np.mean(row[probe.free_episodes :])) if probe.run.algorithm.stages().trial else row[-1] for row in returns
    ]


COLLAPSED = {"discrete": (0.05, 0.2), "continuous": (0.02, 0.1)}
"""Entropy as a fraction of log A, or std as a fraction of half the action range: below is a problem, or a note."""


def entropy(probe: Probe, distribution: Distribution, mask: Tensor, remembers: bool = False) -> Finding:
    """Can the policy still explore before it adapts? distribution [...] and mask [...] of the steps that count.

    With `remembers`, little randomness is at most a note: a policy with a memory can explore systematically.
    """
    name, space = "exploration", probe.run.env.action_space
    init_std = probe.run.config.policy.init_std
    numbers: dict[str, Any]
    if isinstance(distribution, Categorical | MultiCategorical):
        if isinstance(distribution, Categorical):
            actions = distribution.log_probs.shape[-1]
        else:
            actions = math.prod(counts(space))
        share = float((distribution.entropy() * mask).sum() / mask.sum()) / math.log(actions) if actions > 1 else 1.0
        limits = COLLAPSED["discrete"]
        said = f"the entropy is {share:.0%} of that of {actions} equally likely actions"
        numbers = {"entropy as a fraction of log A": share}
    elif isinstance(distribution, DiagGaussian):
        std = distribution.log_std.flatten(0, -2).double().mean(0).exp().cpu().numpy()
        half = (space.high - space.low).reshape(-1) / 2 if isinstance(space, spaces.Box) else np.array(np.inf)
        bounded = bool(np.isfinite(half).all())
        half = half if bounded else np.full(len(std), init_std)
        share, limits = float(np.exp(np.log(std / half).mean())), COLLAPSED["continuous"]
        of = "half the action range" if bounded else "the initial one"
        said = f"the std of actions is {share:.2g} of {of} and {float(std.mean()) / init_std:.2g} times the initial std"
        numbers = {"std": std.tolist(), f"fraction of {of}": share, "initial std": init_std}
    else:
        return does_not_apply(name, f"The entropy of a {type(distribution).__name__} is not known here.")
    finding = partial(Finding, name, numbers=numbers)
    if share >= limits[1]:
        return finding("ok", f"The policy explores: {said}.")
    verdict: Verdict = "problem" if share < limits[0] and not remembers else "note"
    how = "hardly explores" if verdict == "problem" else "explores little"
    fewer = f"fewer meta-iterations, --num-iterations {max(1, probe.run.iteration // 2)}"
    more = "--entropy-coef 0.05, or " if "entropy_coef" in field_types(probe.run.config.algorithm) else ""
    return finding(verdict, f"The policy {how}: {said}.", next=f"a new run with {more}{fewer}")


LEAK_TASKS = 200
"""Tasks whose first observations are read; these cost no step."""
LEAKS, HINTS = 0.5, 0.2
"""R² from which on observations give the task away, or hint at it."""


def leak(probe: Probe, played: Trajectory | None) -> Finding:
    """Can the task be read off the observations, so that nothing need be adapted?

    Args:
        played: under a policy that knows nothing of the tasks `probe.tasks(probe.split)`; None plays random actions.
    """
    name, env, generator = "leak", probe.run.env, probe.generator("leak")
    task = probe.tasks(probe.split)
    if played is None:
        played = reference_rollout(env, all_references(env)["random"], task, probe.num_envs, generator)
    weight = (played.mask / played.mask.sum(1, keepdim=True)).unsqueeze(-1)
    means = torch.where(weight > 0, played.obs * weight, 0.0).sum(1)
    many = probe.tasks(probe.split, max(probe.num_tasks, LEAK_TASKS))
    first = env.reset(many, min(4, probe.num_envs), generator)[1].flatten(2)
    numbers: dict[str, Any] = {"R² from the first observation": {}, "R² from an episode's mean": {}}
    for found, obs, of in zip(numbers.values(), (first, means), (many, task), strict=True):
        for field, columns in task_columns(env, of).items():
            if np.ptp(columns, axis=0).any():
                one_hot = isinstance(env.task_space[field], spaces.Discrete)
                found[field] = decodable(obs.double().cpu().numpy(), columns, together=one_hot)
    at_once, later = ({"": 0.0} | found for found in numbers.values())
    finding = partial(Finding, name, numbers=numbers)
    field = max(at_once, key=at_once.__getitem__)
    if at_once[field] >= HINTS:
        verdict: Verdict = "problem" if at_once[field] >= LEAKS else "note"
        how = "gives away" if verdict == "problem" else "hints at"
        sentence = f"The first observation {how} the task's {field} (R² {at_once[field]:.2f} on held-out tasks)"
        adapts = not probe.run.algorithm.stages().trial
        remedy = "hide the task from the observation" + ", or train one policy for all, --inner-lr 0" * adapts
        return finding(verdict, f"{sentence}, and a policy need not adapt to what it sees.", next=remedy)
    field = max(later, key=later.__getitem__)
    if later[field] >= LEAKS:
        sentence = f"The first observation does not tell the task, but an episode's mean observation does: {field}, R² "
        return finding(
            "note", f"{sentence}{later[field]:.2f} on held-out tasks; the dynamics show it, even without rewards."
        )
    highest = max(*at_once.values(), *later.values())
    return finding("ok", f"Observations do not tell the task: R² at most {highest:.2f}.")


def decodable(x: np.ndarray, y: np.ndarray, together: bool = False, folds: int = 5, ridge: float = 1e-3) -> float:
    """How well ridge regression predicts a field of tasks that it has not seen.

    Args:
        x: observations [N, E, O], of E lanes of each of N tasks.
        y: the field [N, D].
        together: one R² for all columns, as for one-hot ones; otherwise that of the best column.

    Returns:
        R² on held-out tasks by `folds`-fold cross-validation; below 0 where the mean predicts better.
    """
    fold = np.arange(len(x)) % folds
    error, total = np.zeros(y.shape[1]), np.zeros(y.shape[1])
    for k in range(folds):
        train, test = (x[fold != k].reshape(-1, x.shape[2]), x[fold == k].reshape(-1, x.shape[2]))
        target, truth = (np.repeat(y[part], x.shape[1], 0) for part in (fold != k, fold == k))
        shift, scale, mean = train.mean(0), train.std(0), target.mean(0)
        scale[scale < 1e-6 * (1 + np.abs(shift))] = np.inf  # what does not vary tells nothing
        a, b = (train - shift) / scale, (test - shift) / scale
        weights = np.linalg.solve(a.T @ a + ridge * len(a) * np.eye(a.shape[1]), a.T @ (target - mean))
        error += np.square(truth - mean - b @ weights).sum(0)
        total += np.square(truth - mean).sum(0)
    if together:
        return float(1 - error.sum() / total.sum())
    varies = total > 0
    return float((1 - error[varies] / total[varies]).max())


MEMORIZED = 0.25
"""Held-out tasks that lack more than this fraction of the gain on training tasks are a problem."""

Curve = Callable[[str], tuple[Tensor, Tensor]]
"""`split -> return of each task before [N] and after adaptation [N]`."""


def gap(probe: Probe, curve: Curve, stage: str) -> Finding:
    """Training tasks against held-out and out-of-range ones, after the last step."""
    name, splits = "other tasks", [split for split in probe.run.env.splits if split != "test"]
    if not {"train", "validation"} <= set(splits):
        return does_not_apply(name, f"The family has no train and validation splits, only {', '.join(splits)}.")
    before, after = {}, {}
    for split in splits:
        before[split], after[split] = curve(split)
    if not all(bool(x.isfinite().all()) for x in after.values()):
        return does_not_apply(name, f"Returns {stage} that are not finite cannot be compared.")
    gains = {split: Interval.of_change(after[split], before[split]) for split in splits}
    numbers: dict[str, Any] = {
        f"return {stage}": {split: Interval.of(x) for split, x in after.items()},
        "gain": gains,
    }
    difference = Interval.of_difference(after["train"], after["validation"])
    numbers["train minus validation"] = difference
    finding = partial(Finding, name, numbers=numbers)
    listed = ", ".join(f"{short(numbers[f'return {stage}'][split].mean)} on {split}" for split in splits)
    said = f"The return {stage} is {listed} tasks"
    if difference.positive and difference.mean > MEMORIZED * max(gains["train"].mean, 0.0):
        remedy = f"a new run with --meta-batch-size {2 * probe.run.config.meta_batch_size}"
        return finding("problem", f"{said}: training tasks do better by {difference}.", next=remedy)
    if difference.positive:
        return finding("note", f"{said}: training tasks do a little better, by {difference}.")
    said = f"{said}; training and held-out tasks do not differ beyond chance"
    if "ood" in splits and gains["train"].positive and not gains["ood"].positive:
        remedy = "train on a wider range of tasks, an option --env.FIELD of the family"
        return finding("note", f"{said}, but out of range adaptation gains {gains['ood']}.", next=remedy)
    also = ", and out of range adaptation helps, too" if "ood" in splits and gains["ood"].positive else ""
    return finding("ok", f"{said}{also}.")
