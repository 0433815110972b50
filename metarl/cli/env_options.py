"""Options --env.FIELD of the verbs that play a trained run: the environment other than it was in training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tyro

from metarl.agent.pretrained import run_folder
from metarl.training import config_file, env_options


def parse(kind: Any, verb: str, about: str, arguments: list[str]) -> tuple[Any, Path, dict[str, Any]]:
    """A command line: what it says, with a `run_dir`; the folder of that run; and the options of its environment.

    Args:
        kind: the dataclass of the options that are not the environment's.
        about: the first paragraphs of --help.

    Raises:
        InputError: when the folder holds no run.
    """
    rest, options = split(arguments)
    args = tyro.cli(kind, prog=f"metarl {verb}", description=about, args=rest, config=(tyro.conf.OmitArgPrefixes,))
    folder = run_folder(args.run_dir)
    _, _, trained = config_file.read_run(folder)  # a folder that is no run is said before all about the output
    config = tyro.cli(type(trained), prog=f"metarl {verb} RUN --env.", default=trained, args=options)
    return args, folder, env_options.changed(config, trained)


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """A command line without its options --env.FIELD, and these, as --FIELD, with what follows each of them."""
    parts: tuple[list[str], list[str]] = ([], [])
    own = False
    for argument in arguments:
        if argument.startswith("--"):
            own = argument.startswith("--env.")
        parts[own].append(f"--{argument.removeprefix('--env.')}" if argument.startswith("--env.") else argument)
    return parts


def file_name(name: str, options: Mapping[str, Any]) -> str:
    """A name for a file, without its ending, that tells the options: evaluation-test-horizon-300."""
    return "-".join([name, *(f"{k}-{v}" for k, v in options.items())])
