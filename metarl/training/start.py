"""Start a run from a preset, or resume one from its folder; `metarl.training.loop.train` trains it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import envs
from envs.errors import InputError, require
from metarl.algorithms.sb3_file import check_spaces, load_sb3
from metarl.backend.distributed import world_size
from metarl.training.config import TrainConfig
from metarl.training.presets import preset
from metarl.training.room import check_room, too_large
from metarl.training.run import Run


def new_run(
    name: str,
    run_dir: Path | str,
    config: TrainConfig | None = None,
    env_config: Any = None,
    device: str = "cpu",
    imports: str = "",
) -> Run:
    """A run that is not trained yet. Writes nothing: training makes the folder.

    Args:
        name: of a preset, such as `maml-point`; see `metarl.training.presets`.
        run_dir: the folder to make; it must not hold a run.
        config: what to train, by default as the preset says; change fields of it by `dataclasses.replace`. Without a
            number of shards there is one for each process.
        env_config: the environment's configuration, by default that of the preset that `config` names.
        imports: modules, joined by commas, that register the family; `Run.open` imports them where it is unknown.

    Raises:
        InputError: for an unknown preset or environment, options that do not fit each other, a model of
            Stable-Baselines3 (`config.init_sb3`) that cannot be taken over, sizes that do not fit into memory, or a
            family of one's own that breaks the contract of `envs.Env`.
        EnvironmentFault: when an environment of such a family raises.
    """
    usual = preset(name)
    config = config or usual
    env_config = env_config or envs.make_config(config.env, config.env_preset)
    policy = None
    if config.init_sb3 is not None:
        require(
            config.policy == usual.policy,
            f"The policy is that of {config.init_sb3}; leave out the options of a policy, such as --hidden-sizes.",
        )
        policy = load_sb3(config.init_sb3)
        config = dataclasses.replace(config, policy=policy.config)
    if config.shards is None and world_size() > 1:
        config = dataclasses.replace(config, shards=world_size())
    try:
        run = Run(Path(run_dir), name, config, env_config, device, policy, imports)
    except (RuntimeError, MemoryError) as error:  # a replay, or a table of the steps of a trial
        if said := too_large(error):
            raise InputError(f"{said}.") from error
        raise
    if policy is not None:
        check_spaces(policy, run.env, f"The model {config.init_sb3}")
    check_room(run.config, run.env, run.algorithm)
    if config.env not in envs.OURS:
        envs.check_env(run.env, images=False)
    return run


def resume_run(
    run_dir: Path | str,
    num_iterations: int | None = None,
    device: str = "cpu",
    change_env: Callable[[Any], Any] = lambda env_config: env_config,
) -> Run:
    """A run at its checkpoint, to go on with it; see `Run.open`. Raises `InputError`, also for lack of memory."""
    run = Run.open(run_dir, device, num_iterations, change_env)
    check_room(run.config, run.env, run.algorithm)
    return run
