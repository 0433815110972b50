"""The arguments of `metarl train`: a preset with every field of it, its environment and the session; or a run folder.

Which fields there are follows from the preset and from --env, so these are looked for first.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

import envs
from envs.errors import InputError
from envs.extras import PACKAGES
from metarl.backend.distributed import launched, local_world_size
from metarl.cli.main import option
from metarl.cli.session import TrainSession
from metarl.evaluation.held_out import HeldOut
from metarl.training.config import TrainConfig, flat, to_dict
from metarl.training.config_file import recorded_threads
from metarl.training.presets import METHODS, PRESETS, preset
from metarl.training.run import Run
from metarl.training.start import new_run, resume_run
from metarl.training.suites import SUITES, families

Flat = tyro.conf.OmitArgPrefixes


@dataclass(frozen=True)
class Resume:
    """Go on with a run from its checkpoint, bit for bit as if it had not been stopped."""

    resume: Path
    """The run folder."""
    num_iterations: int | None = None
    """Train up to this number of meta-iterations instead of the configured one."""
    session: TrainSession = dataclasses.field(default_factory=TrainSession)


def run_to_train(arguments: list[str], about: str) -> tuple[Run, HeldOut | None]:
    """The run that a command line describes, and what evaluates it during training.

    Args:
        about: the first paragraphs of --help.

    Raises:
        InputError: when it describes none, or one that cannot be made.
    """
    if any(argument.split("=")[0] == "--resume" for argument in arguments):
        args = tyro.cli(Resume, prog="metarl train", args=arguments, config=(Flat,))
        session: TrainSession = args.session
        device = session.apply(recorded_threads(args.resume))
        run = resume_run(args.resume, args.num_iterations, device, session.choose_engine)
    elif arguments and not arguments[0].startswith("-"):
        run, session = _new_run(arguments[0], arguments[1:], about)
    elif "--help" in arguments or "-h" in arguments:
        run, session = _new_run(PRESETS[0], ["--help"], about)
    else:
        raise InputError(f"Name a preset first, such as metarl train {PRESETS[0]}; metarl train --help lists them.")
    session.speed_up(run.algorithm, run.env)
    return run, session.held_out(run)


def _new_run(name: str, arguments: list[str], about: str) -> tuple[Run, TrainSession]:
    config = preset(name)
    _check_options(name, arguments)
    env = option(arguments, "--env") or config.env
    env_preset = option(arguments, "--env-preset") or (config.env_preset if env == config.env else None)
    env_config = envs.make_config(env, env_preset)
    config = dataclasses.replace(config, env=env, env_preset=env_preset or next(iter(envs.family(env).presets)))
    args: Any = tyro.cli(
        arguments_of(name, config, env_config),
        prog="metarl train PRESET",
        description=_description(name, about),
        args=arguments,
        config=(tyro.conf.AvoidSubcommands,),
    )
    session: TrainSession = args.session
    env_config, device = session.choose_engine(args.env), session.apply()
    return new_run(name, args.run_dir, args.train, env_config, device, session.imports), session


def arguments_of(name: str, config: TrainConfig, env_config: Any, *more: tuple[str, Any, Any]) -> type:
    """A dataclass of the options that a preset has, with these values as defaults; `more` fields come first."""
    fields: list[tuple[str, Any, Any]] = [
        *more,
        ("run_dir", Path, Path("runs") / name),
        ("session", Annotated[TrainSession, Flat], TrainSession()),
        ("train", Annotated[TrainConfig, Flat], config),
        ("env", type(env_config), env_config),
    ]
    return dataclasses.make_dataclass("Args", fields)


def _description(name: str, about: str) -> str:
    methods = "\n".join(f"  {key}: {method.about}" for key, method in METHODS.items())
    suites = "\n".join(f"  {key}: {SUITES[key].about if key in SUITES else 'general settings'}" for key in families())
    suites += "".join(f"\n  {package}-NAME: {told.title}, such as {told.example}" for package, told in PACKAGES.items())
    return (
        f"{about}\nA preset is METHOD-FAMILY, such as maml-point. Methods:\n{methods}\n\nFamilies:\n{suites}\n\n"
        f"Below: every field, with the value that {name} gives it."
    )


def _check_options(name: str, arguments: Sequence[str]) -> None:
    """Raise `InputError` for an option that only other methods have."""
    options = {method: option_names(preset(f"{method}-point")) for method in METHODS}
    own = option_names(preset(name))
    for argument in arguments:
        key = argument.split("=")[0].replace("_", "-")
        others = [method for method, names in options.items() if key in names]
        if others and key not in own:
            raise InputError(f"The preset {name} has no {key}; the methods that have it: {', '.join(others)}.")


def option_names(config: Any) -> set[str]:
    """The options of a configuration and of those it holds, such as --inner-lr."""
    return {f"--{name.rpartition('.')[2].replace('_', '-')}" for name in flat(to_dict(config))} - {"--kind"}


def resume_command(run: Run, arguments: Sequence[str]) -> str:
    """The command that goes on with a run, as it was started."""
    several = "torchrun ..." if launched() > local_world_size() else f"torchrun --nproc-per-node {launched()}"
    start = "metarl" if launched() == 1 else f"{several} -m metarl"
    kept = _options(run, arguments, "--eval-every", "--eval-every-tasks")
    return f"{start} train --resume {kept}"


def evaluate_command(run: Run, arguments: Sequence[str]) -> str:
    """The command that evaluates a run."""
    return f"metarl evaluate {_options(run, arguments)}"


def _options(run: Run, arguments: Sequence[str], *names: str) -> str:
    """The run's folder, and the options of these names as they were given; modules that its folder does not name."""
    names = names if run.imports else ("--imports", *names)
    given = ((name, option(arguments, name)) for name in names)
    return " ".join([shlex.quote(str(run.path)), *(f"{name} {shlex.quote(value)}" for name, value in given if value)])
