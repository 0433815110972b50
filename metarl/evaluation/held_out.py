"""Evaluation during training, on a few validation tasks: `metarl train --eval-every K`."""

from __future__ import annotations

import sys

import envs
from envs.contract import draw_tasks
from metarl.backend import distributed
from metarl.backend.errors import NonFiniteError
from metarl.evaluation.curve import play_stages
from metarl.training.run import Run


class HeldOut:
    """Evaluates a run every so many meta-iterations, and changes nothing in it.

    The tasks are the same each time and in every run of a family, and they are not those of `metarl evaluate`. Episodes
    follow from the seed of the run and the iteration, so that a resumed run plays the same ones. The environment is
    one of its own: a physics engine keeps buffers, and counts what went wrong.

    Args:
        every: meta-iterations between evaluations.
        num_tasks: validation tasks; each plays as many episodes a stage as `eval_num_envs` says.

    Raises:
        InputError: when the family has no split `validation`.
    """

    def __init__(self, run: Run, every: int, num_tasks: int) -> None:
        self.every = every
        self.env = envs.family(run.config.env).env_class(run.env_config, run.device)
        generator = envs.task_generator(0, "evaluation in training", run.device)
        self.task = draw_tasks(self.env, num_tasks, generator, "validation")

    def __call__(self, run: Run) -> dict[str, float]:
        """`eval_return_k`: the mean return of stage k, of those that metarl evaluate has by default.

        Empty where none is due, in all processes but the main one, and where returns are not finite, which is said.
        """
        if run.iteration % self.every or not distributed.is_main():
            return {}
        generator = envs.task_generator(run.config.seed, f"evaluation after {run.iteration}", run.device)
        num_envs, stages = run.config.eval_num_envs, run.algorithm.stages()
        play = run.algorithm.play(self.env, num_envs, generator, stages)
        try:
            rewards = play_stages(self.env, play, self.task, num_envs * stages.episodes).rewards
        except NonFiniteError:  # in fine-tuning
            finite = False
        else:
            finite = bool(rewards.isfinite().all())
        if not finite:
            problem = f"After iteration {run.iteration} adaptation to validation tasks met a return that is not finite"
            print(f"{problem}; this evaluation is left out.", file=sys.stderr, flush=True)
            return {}
        means = rewards.double().sum(2).mean(0).tolist()
        return {f"eval_return_{k}": mean for k, mean in enumerate(means)}
