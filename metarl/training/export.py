"""What a run has learned, for other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from envs.core import Env
from envs.errors import require
from metarl.algorithms.sb3_file import check_spaces
from metarl.training.run import Run


def to_sb3(run_dir: str | Path, env: Any, **options: Any) -> Any:
    """What a run has learned, as the start of a `stable_baselines3.PPO`: the same outputs for the same observation.

    Args:
        run_dir: folder of a run of the MAML family or Reptile, or of an sb3-ppo run, whose value network comes along.
            The value network of the others is fresh.
        env: what PPO will learn on, such as a `TaskVecEnv` or any Gymnasium or SB3 environment with observations of
            the same shape and the same actions. An informed run wants `TaskVecEnv(envs.informed(...), ...)`.
        **options: of `PPO`, such as `n_steps=100, learning_rate=1e-3`.

    Raises:
        InputError: for a run of another kind, and for an environment of other spaces.
    """
    made = hasattr(env, "observation_space") and not isinstance(env, Env)
    require(made, "The environment must be one of Gymnasium or SB3, such as TaskVecEnv(env, num_envs).")
    run = Run.open(Path(run_dir))
    run.require_checkpoint()
    require("policy_kwargs" not in options, "The policy's size is the run's, so policy_kwargs cannot be given.")
    check_spaces(run.algorithm.seen(run.env), env, f"The run {run_dir}")
    return run.algorithm.to_sb3(env, **options)
