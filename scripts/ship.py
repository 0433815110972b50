"""Make the policies that come with the package: train the presets, evaluate them, put them into metarl/shipped."""

from __future__ import annotations

import metarl.backend.starting

# isort: split
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

import metarl
from metarl.agent.pretrained import pretrained, ship
from metarl.cli.main import run_main


@dataclass(frozen=True)
class Ship:
    """Train presets, evaluate them on the split test, and make them policies that come with the package."""

    presets: Annotated[tuple[str, ...], tyro.conf.Positional] = field(default_factory=lambda: tuple(pretrained()))
    """By default those that come with it already."""
    runs: Path = Path("runs/shipped")
    """Folder of the runs, by preset. What is there already is taken as it is."""
    seed: int = 0
    """Of training."""


def main(arguments: list[str]) -> None:
    args = tyro.cli(Ship, prog="ship.py", args=arguments)
    for name in args.presets:
        run = args.runs / name
        if not (run / "checkpoint.pt").exists():
            metarl.train(name, run, seed=args.seed)
        if not (run / "evaluation-test.json").exists():
            metarl.evaluate(run, output=run / "evaluation-test.json")
        print(ship(run))


if __name__ == "__main__":
    run_main(main)
