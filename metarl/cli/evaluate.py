"""Evaluate how a trained run adapts to tasks it has not seen: prints a table, writes PNG and JSON.

metarl evaluate RUN --env.horizon 300    under other options of the environment than it was trained with
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from gymnasium.spaces import flatdim

import envs
from envs.core import Env
from envs.errors import require
from metarl.agent.pretrained import run_folder
from metarl.backend.files import write_json
from metarl.cli.main import progress_bar
from metarl.cli.session import Session
from metarl.evaluation.evaluate import EvaluationConfig, check_evaluation_output, evaluate_run
from metarl.evaluation.plot import plot_curve
from metarl.evaluation.table import evaluation_table, scores_table
from metarl.figures.terminal import show
from metarl.training import config_file
from metarl.training.commands import command_line
from metarl.training.config import to_dict


@dataclass(frozen=True)
class Arguments:
    """Evaluate how a trained run adapts to tasks it has not seen: prints a table, writes PNG and JSON."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """The run folder that metarl train wrote, or the name of a policy that comes with the package."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    output: Path | None = None
    """The JSON file; the PNG goes beside it. By default DIR/evaluation-SPLIT.json, with options of --env.FIELD in its
    name; for a policy that comes with the package runs/NAME-evaluation-SPLIT.json."""
    session: Session = field(default_factory=Session)


def main(arguments: list[str]) -> None:
    rest, options = env_options(arguments)
    args = tyro.cli(
        Arguments, prog="metarl evaluate", description=str(__doc__), args=rest, config=(tyro.conf.OmitArgPrefixes,)
    )
    folder = run_folder(args.run_dir)
    _, config, trained = config_file.read_run(folder)  # a folder that is no run is said before all about the output
    played = tyro.cli(type(trained), prog="metarl evaluate RUN --env.", default=trained, args=options)
    if played != trained:
        check_same_spaces(*(envs.family(config.env).build(options, "cpu") for options in (played, trained)))
    changed = {k: v for k, v in to_dict(played).items() if v != to_dict(trained)[k]}
    tasks = args.evaluation.tasks
    names = [tasks.stem if tasks else args.evaluation.split, *(f"{k}-{v}" for k, v in changed.items())]
    name = f"evaluation-{'-'.join(names)}.json"
    output = args.output or (folder / name if folder == args.run_dir else Path("runs") / f"{args.run_dir}-{name}")
    if folder != args.run_dir and not args.output:
        output.parent.mkdir(exist_ok=True)
    check_evaluation_output(output, args.evaluation, changed)
    run = args.session.open(folder, played)
    with progress_bar("evaluation") as progress:
        result = evaluate_run(run, args.evaluation, progress)
    under = {"env_options": changed} if changed else {}
    write_json(output, {**result, **under, "command": command_line("evaluate", arguments)})
    show(evaluation_table(result))  # after writing: what was computed is not lost where it cannot be shown
    if result["scores"]:
        show(scores_table(result))
    print(f"Wrote {output} and {plot_curve(result, output.with_suffix('.png'))}")


def env_options(arguments: list[str]) -> tuple[list[str], list[str]]:
    """A command line without its options --env.FIELD, and these, as --FIELD, with what follows each of them."""
    parts: tuple[list[str], list[str]] = ([], [])
    own = False
    for argument in arguments:
        if argument.startswith("--"):
            own = argument.startswith("--env.")
        parts[own].append(f"--{argument.removeprefix('--env.')}" if argument.startswith("--env.") else argument)
    return parts


def check_same_spaces(env: Env, trained_in: Env) -> None:
    """Raise `InputError` unless a policy that was trained in one environment fits the other."""
    for name in ("observation_space", "action_space"):
        here, there = getattr(env, name), getattr(trained_in, name)
        require(
            flatdim(here) == flatdim(there),
            f"With these options the {name} of the environment is {here}, and the run was trained with {there}.",
        )
