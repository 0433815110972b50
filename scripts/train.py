"""Meta-train a policy: `python scripts/train.py PRESET [--run-dir DIR] [--FIELD VALUE ...]`.

Go on with a run that was stopped: `python scripts/train.py --resume DIR [--num-iterations K]`.
On several processes: `torchrun --nproc-per-node W scripts/train.py ...`; docs/scaling.md says how.
"""

from __future__ import annotations

import metarl.backend.starting  # noqa: F401  before torch, which takes seconds to load

# isort: split
import dataclasses
import shlex
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

import envs
from envs.errors import InputError, require
from metarl.algorithms.sb3_file import check_spaces, load_sb3
from metarl.backend.distributed import is_main, launched, local_world_size, quiet_unless_main, world_size
from metarl.cli import TrainSession, option, run_main
from metarl.evaluation.held_out import HeldOut
from metarl.training import commands
from metarl.training.config import TrainConfig
from metarl.training.config_file import recorded_threads
from metarl.training.loop import train
from metarl.training.presets import METHODS, PRESETS, SUITES, families, preset
from metarl.training.room import check_room, too_large
from metarl.training.run import Run

Flat = tyro.conf.OmitArgPrefixes


@dataclass(frozen=True)
class Resume:
    """Go on with a run from its checkpoint, bit for bit as if it had not been stopped."""

    resume: Path
    """The run folder."""
    num_iterations: int | None = None
    """Train up to this number of meta-iterations instead of the configured one."""
    session: TrainSession = dataclasses.field(default_factory=TrainSession)


def resumed_run(arguments: list[str]) -> tuple[Run, HeldOut | None]:
    """The run, and what evaluates it during training."""
    args = tyro.cli(Resume, prog="train.py", args=arguments, config=(Flat,))
    device = args.session.apply(recorded_threads(args.resume))
    run = Run.open(args.resume, device, args.num_iterations, args.session.choose_engine)
    args.session.speed_up(run.algorithm, run.env)
    check_room(run.config, run.env, run.algorithm)
    return run, args.session.held_out(run)


def option_names(config: Any) -> set[str]:
    """The options of a configuration and of those it holds, such as --inner-lr."""
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    nested = {name for name, value in values.items() if dataclasses.is_dataclass(value)}
    own = {f"--{name.replace('_', '-')}" for name in values.keys() - nested}
    return own.union(*(option_names(values[name]) for name in nested))


def check_options(name: str, arguments: list[str]) -> None:
    """Raise `InputError` for an option that only other methods have."""
    options = {method: option_names(preset(f"{method}-point")) for method in METHODS}
    own = option_names(preset(name))
    for argument in arguments:
        key = argument.split("=")[0].replace("_", "-")
        others = [method for method, names in options.items() if key in names]
        if others and key not in own:
            raise InputError(f"The preset {name} has no {key}; the methods that have it: {', '.join(others)}.")


def new_run(name: str, arguments: list[str]) -> tuple[Run, HeldOut | None]:
    """Parse the fields of a preset, of its environment and of the session. The run has no folder yet.

    Returns the run, and what evaluates it during training.
    """
    config = preset(name)
    check_options(name, arguments)
    env = option(arguments, "--env") or config.env
    env_preset = option(arguments, "--env-preset") or (config.env_preset if env == config.env else None)
    env_config = envs.make_config(env, env_preset)
    config = dataclasses.replace(config, env=env, env_preset=env_preset or next(iter(envs.family(env).presets)))
    fields: list[tuple[str, Any, Any]] = [
        ("run_dir", Path, Path("runs") / name),
        ("session", Annotated[TrainSession, Flat], TrainSession()),
        ("train", Annotated[TrainConfig, Flat], config),
        ("env", type(env_config), env_config),
    ]
    methods = "\n".join(f"  {key}: {method.about}" for key, method in METHODS.items())
    about = "\n".join(f"  {key}: {SUITES[key].about if key in SUITES else 'general settings'}" for key in families())
    args: Any = tyro.cli(
        dataclasses.make_dataclass("Args", fields),
        prog="train.py PRESET",
        description=f"{__doc__}\nA preset is METHOD-FAMILY, such as maml-point. Methods:\n{methods}\n\nFamilies:\n"
        f"{about}\n\nBelow: every field, with the value that {name} gives it.",
        args=arguments,
        config=(tyro.conf.AvoidSubcommands,),
    )
    train_config, policy = args.train, None
    if train_config.init_sb3 is not None:
        require(
            train_config.policy == config.policy, f"The policy is that of {train_config.init_sb3}; leave out the "
            "options of a policy, such as --hidden-sizes.",
        )  # fmt: skip
        policy = load_sb3(train_config.init_sb3)
        train_config = dataclasses.replace(train_config, policy=policy.config)
    if train_config.shards is None and world_size() > 1:
        train_config = dataclasses.replace(train_config, shards=world_size())
    run = Run(args.run_dir, name, train_config, args.session.choose_engine(args.env), args.session.apply(), policy)
    if policy is not None:
        check_spaces(policy, run.env, f"The model {train_config.init_sb3}")
    args.session.speed_up(run.algorithm, run.env)
    check_room(run.config, run.env, run.algorithm)
    return run, args.session.held_out(run)


@contextmanager
def folder(run: Run, arguments: list[str]) -> Iterator[None]:
    """Makes the folder of a new run. Where training then turns out to be impossible, what it made is removed."""
    before = set(run.path.iterdir()) if run.path.is_dir() else None
    run.create()
    with run.locked():  # what is removed must not be another process's
        try:
            commands.add(run.path, "train.py", arguments)
            if run.config.init_sb3 is not None or run.config.num_iterations == 0:
                run.save()
            yield
        except Exception as error:
            impossible = isinstance(error, InputError) or too_large(error) is not None
            if impossible and run.iteration == 0 and is_main():
                with suppress(OSError):
                    for path in set(run.path.iterdir()) - (before or set()):
                        path.unlink()
                    if before is None:
                        run.path.rmdir()
            raise


def main(arguments: list[str]) -> int:
    made: AbstractContextManager[None] = nullcontext()
    resuming = any(argument.split("=")[0] == "--resume" for argument in arguments)
    if resuming:
        with quiet_unless_main():
            run, held_out = resumed_run(arguments)
        if run.iteration >= run.config.num_iterations:
            done = f"{run.path} has done its {run.iteration} iterations already"
            print(f"{done}; --num-iterations K trains it for longer.")
            return 0
    elif arguments and not arguments[0].startswith("-"):
        with quiet_unless_main():
            run, held_out = new_run(arguments[0], arguments[1:])
        made = folder(run, arguments)
    elif "--help" in arguments or "-h" in arguments:
        run, held_out = new_run(PRESETS[0], ["--help"])
    else:
        raise InputError(f"Name a preset first, such as train.py {PRESETS[0]}; train.py --help lists them.")
    where = shlex.quote(str(run.path))
    if imports := option(arguments, "--imports"):
        where += f" --imports {shlex.quote(imports)}"
    with made, run.locked():
        if resuming:
            if option(arguments, "--num-iterations") is not None:
                commands.add(run.path, "train.py", arguments)
            done = f"Resuming {run.path} after iteration {run.iteration} of {run.config.num_iterations}."
            print(done if run.iteration else f"{run.path} has no finished iteration yet; it starts from the beginning.")
        stopped_by = train(run, held_out=held_out)
    done = f"{run.iteration} of {run.config.num_iterations} iterations"
    print(f"{run.path}: {done}, {run.env_steps:,} environment steps, {run.seconds:.0f} s of training.")
    if stopped_by is not None:
        name = signal.Signals(stopped_by).name
        several = "torchrun ..." if launched() > local_world_size() else f"torchrun --nproc-per-node {launched()}"
        start = "python" if launched() == 1 else several
        for key in ("--eval-every", "--eval-every-tasks"):
            if value := option(arguments, key):
                where += f" {key} {value}"
        print(f"Stopped by {name} and saved. Go on with: {start} scripts/train.py --resume {where}")
        return 128 + stopped_by
    print(f"Next: python scripts/evaluate.py {where}")
    return 0


if __name__ == "__main__":
    run_main(main, parallel=True)
