"""Diagnose a trained run: does adaptation help, and if not, why? Prints a report and writes it as JSON.

metarl diagnose RUN --env.horizon 300    under other options of the environment than it was trained with
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from metarl.backend.files import check_output, write_json
from metarl.cli import env_options
from metarl.cli.main import progress_bar
from metarl.cli.session import Session
from metarl.diagnosis.diagnose import diagnose_run
from metarl.diagnosis.probe import DiagnosisConfig
from metarl.diagnosis.table import findings_table, heading
from metarl.figures.terminal import full_width, show
from metarl.training import config_file


@dataclass(frozen=True)
class Arguments:
    """Diagnose a trained run: does adaptation help, and if not, why? Prints a report and writes it as JSON."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """The run folder that metarl train wrote."""
    diagnosis: DiagnosisConfig = field(default_factory=DiagnosisConfig)
    output: Path | None = None
    """The JSON file; by default DIR/diagnosis.json, with options of --env.FIELD in its name."""
    session: Session = field(default_factory=Session)


def main(arguments: list[str]) -> None:
    args, folder, options = env_options.parse(Arguments, "diagnose", str(__doc__), arguments)
    output = args.output or args.run_dir / f"{env_options.file_name('diagnosis', options)}.json"
    config_file.read(args.run_dir)  # those that come with the package have no log of their training to look at
    check_output(output, ["findings"])
    run = args.session.open(folder, options)
    with progress_bar("diagnosis") as progress:
        result = diagnose_run(run, args.diagnosis, progress)
    write_json(output, result, indent=1, allow_nan=False)
    Console(highlight=False, soft_wrap=full_width()).print(heading(result))
    show(findings_table(result))
    print(f"Wrote {output}")
