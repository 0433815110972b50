"""Evaluate how a trained run adapts to tasks that it has not seen, with reference policies on the same tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Generator, Tensor

from envs.errors import require
from envs.fields import PositiveInt
from envs.structs import Struct
from metarl.algorithms.base import Stages
from metarl.backend.errors import NonFiniteError
from metarl.backend.files import check_output
from metarl.evaluation.curve import fingerprint, play_references, play_stages, summarize, summarize_scores
from metarl.evaluation.mmer import mmer
from metarl.evaluation.selection import Selection
from metarl.training import metrics_log
from metarl.training.run import Run


@dataclass(frozen=True)
class EvaluationConfig(Selection):
    """What is evaluated."""

    num_tasks: PositiveInt | None = None
    """Tasks to evaluate on; by default the run's eval_num_tasks."""
    num_envs: PositiveInt | None = None
    """Episodes per task and step; by default the run's eval_num_envs."""
    references: bool = True
    """Play the reference policies on the same tasks, too; some plan at length."""
    greedy: bool = False
    """Play the most probable actions, too: throughout a trial, or in the last stage of other methods."""


def evaluate_run(
    run: Run,
    config: EvaluationConfig | None = None,
    progress: Callable[[float], None] = lambda fraction: None,
    task: Struct | None = None,
) -> dict[str, Any]:
    """How a run adapts to tasks, as a JSON-able dict; comparisons read it from `RUN_DIR/evaluation-SPLIT.json`.

    Args:
        run: a trained run, such as `Run.open(folder)`.
        progress: called with the fraction of the tasks that are done.
        task: tasks [N] to play instead of those that `config` draws.

    Returns:
        What was evaluated (`preset`, `env`, `algorithm`, `split`, `num_tasks`, `tasks` (a fingerprint), `num_envs`,
        `seed`, `train_seed`, `iteration`, `env_steps`, `train_seconds`), the statistics of `curve.summarize`, as
        `scores` those of `curve.summarize_scores`, and as `mmer` that of `mmer.mmer` where the family is judged by it.

    Raises:
        InputError: for a run without a checkpoint, an unknown split, or steps that its method does not take.
        NonFiniteError: when a return is not finite.
    """
    config = config or EvaluationConfig()
    run.require_checkpoint()
    algorithm, stages = run.algorithm, config.stages(run)
    given, num_envs = task is not None, config.num_envs or run.config.eval_num_envs
    task = config.draw(run, run.config.eval_num_tasks) if task is None else task
    generator = Generator(run.device).manual_seed(config.seed)
    play, group = algorithm.play(run.env, num_envs, generator, stages), algorithm.tasks_at_a_time
    played = play_stages(run.env, play, task, num_envs * stages.episodes, progress, group)
    diverged = int((~played.rewards.isfinite()).any((1, 2)).sum())
    if diverged:
        raise NonFiniteError(f"On {diverged} of {len(task)} tasks adaptation met a return that is not finite.")
    others = play_references(run.env, task, num_envs, generator, stages.episodes) if config.references else {}
    greedy = _play_greedily(run, task, num_envs, config.seed, stages).numpy() if config.greedy else None
    return {
        "preset": run.preset,
        "env": run.env_name,
        **({"env_options": run.env_options} if run.env_options else {}),
        "algorithm": algorithm.name,
        "split": "given tasks" if given else config.source,
        "num_tasks": len(task),
        "tasks": fingerprint(task),
        "num_envs": num_envs,
        "seed": config.seed,
        "train_seed": run.config.seed,
        "iteration": run.iteration,
        "env_steps": run.env_steps,
        "train_seconds": run.seconds,
        **summarize(
            played.rewards.numpy(), {name: other.rewards.numpy() for name, other in others.items()}, stages, greedy
        ),
        "scores": summarize_scores(played, others),
        **_training_score(run),
    }


def _training_score(run: Run) -> dict[str, Any]:
    """`mmer`, where the field reports it of this family and the run has its log."""
    steps = run.env.mmer_steps
    rows = metrics_log.read(run.path / "metrics.jsonl") if steps else {}
    found = mmer([rows[k] for k in sorted(rows) if k <= run.iteration], steps)
    return {"mmer": found} if found else {}


def _play_greedily(run: Run, task: Struct, num_envs: int, seed: int, stages: Stages) -> Tensor:
    """Rewards of the trial, or of the last stage, by the most probable actions [N, num_episodes, T]."""
    generator, group = Generator(run.device).manual_seed(seed), run.algorithm.tasks_at_a_time
    play = run.algorithm.play(run.env, num_envs, generator, stages, greedy=True)
    played = play_stages(run.env, play, task, num_envs * stages.episodes, group=group)
    return played.rewards[:, -stages.episodes :]


def check_evaluation_output(output: Path, config: EvaluationConfig, env_options: dict[str, Any] | None = None) -> None:
    """Look before the work whether an evaluation can be written to a JSON file afterwards.

    Args:
        env_options: of the environment, where it is not as in training.

    Raises:
        InputError: when it cannot, or the file holds something else, such as an evaluation on other tasks.
    """
    check_output(output, ["per_task"])
    if not output.exists():
        return
    there, lost = json.loads(output.read_text()), "which would be lost; choose another --output."
    split, options = there.get("split"), there.get("env_options") or {}
    require(split == config.source, f"{str(output)!r} holds one on other tasks ({split}), {lost}")
    same = options == (env_options or {})
    require(same, f"{str(output)!r} holds one under other options of the environment ({options or 'its own'}), {lost}")
