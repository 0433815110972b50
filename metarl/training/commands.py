"""command.txt of a run folder: how the run was made, so that it can be made again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from metarl.backend.distributed import launched, main_only


def command_line(verb: str, arguments: Sequence[str]) -> str:
    """The line for a shell that starts a verb in as many processes as here."""
    start = ["metarl"] if launched() == 1 else ["torchrun", "--nproc-per-node", str(launched()), "-m", "metarl"]
    return shlex.join([*start, verb, *arguments])


@main_only
def add(run_dir: Path, command: str) -> None:
    """Add the command that makes a run, or that changes what it computes."""
    with (run_dir / "command.txt").open("a", encoding="utf-8") as file:
        file.write(command + "\n")


def read(run_dir: Path) -> list[str]:
    """The commands that made a run; a comment where its folder does not say."""
    file = run_dir / "command.txt"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return lines or [f"# {' '.join(str(run_dir).split())} was not made by metarl train, or by an earlier version."]
