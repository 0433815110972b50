"""Evaluate how a trained run adapts to tasks it has not seen: prints a table, writes PNG and JSON.

metarl evaluate RUN --env.horizon 300    under other options of the environment than it was trained with
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from metarl.backend.files import write_json
from metarl.cli import env_options
from metarl.cli.main import progress_bar
from metarl.cli.session import Session
from metarl.evaluation.evaluate import EvaluationConfig, check_evaluation_output, evaluate_run
from metarl.evaluation.plot import plot_curve
from metarl.evaluation.table import evaluation_table, scores_table
from metarl.figures.terminal import show
from metarl.training.commands import command_line


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
    args, folder, options = env_options.parse(Arguments, "evaluate", str(__doc__), arguments)
    tasks = args.evaluation.tasks
    name = env_options.file_name(f"evaluation-{tasks.stem if tasks else args.evaluation.split}", options) + ".json"
    output = args.output or (folder / name if folder == args.run_dir else Path("runs") / f"{args.run_dir}-{name}")
    if folder != args.run_dir and not args.output:
        output.parent.mkdir(exist_ok=True)
    check_evaluation_output(output, args.evaluation, options)
    run = args.session.open(folder, options)
    with progress_bar("evaluation") as progress:
        result = evaluate_run(run, args.evaluation, progress)
    write_json(output, {**result, "command": command_line("evaluate", arguments)})
    show(evaluation_table(result))  # after writing: what was computed is not lost where it cannot be shown
    if result["scores"]:
        show(scores_table(result))
    if "mmer" in result:
        score = result["mmer"]
        epochs = f"{score['epochs']} epochs of {score['epoch_steps']:,} steps"
        print(f"MMER, the largest mean return of an epoch in training: {score['value']:.3f} ({epochs}).")
    print(f"Wrote {output} and {plot_curve(result, output.with_suffix('.png'))}")
