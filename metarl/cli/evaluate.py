"""Evaluate how a trained run adapts to tasks it has not seen: prints a table, writes PNG and JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from metarl.backend.files import write_json
from metarl.cli.main import progress_bar
from metarl.cli.session import Session
from metarl.evaluation.evaluate import EvaluationConfig, check_evaluation_output, evaluate_run
from metarl.evaluation.plot import plot_curve
from metarl.evaluation.table import evaluation_table, scores_table
from metarl.figures.terminal import show
from metarl.training import config_file
from metarl.training.commands import command_line


@dataclass(frozen=True)
class Arguments:
    """Evaluate how a trained run adapts to tasks it has not seen: prints a table, writes PNG and JSON."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """The run folder that metarl train wrote."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    output: Path | None = None
    """The JSON file; the PNG goes beside it. By default DIR/evaluation-SPLIT.json."""
    session: Session = field(default_factory=Session)


def main(arguments: list[str]) -> None:
    args = tyro.cli(Arguments, prog="metarl evaluate", args=arguments, config=(tyro.conf.OmitArgPrefixes,))
    tasks = args.evaluation.tasks
    output = args.output or args.run_dir / f"evaluation-{tasks.stem if tasks else args.evaluation.split}.json"
    config_file.read(args.run_dir)  # a folder that is no run is said before anything about the output
    check_evaluation_output(output, args.evaluation)
    run = args.session.open(args.run_dir)
    with progress_bar("evaluation") as progress:
        result = evaluate_run(run, args.evaluation, progress)
    write_json(output, {**result, "command": command_line("evaluate", arguments)})
    show(evaluation_table(result))  # after writing: what was computed is not lost where it cannot be shown
    if result["scores"]:
        show(scores_table(result))
    print(f"Wrote {output} and {plot_curve(result, output.with_suffix('.png'))}")
