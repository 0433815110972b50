"""Trained policies that come with the package, a run folder each in metarl/shipped, named after the preset.

A folder holds config.json, checkpoint.pt without the state of the optimizer, and evaluation.json. `make policies` makes
them from runs (scripts/ship.py).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.errors import require
from metarl.backend.files import write_atomically, write_json
from metarl.training import checkpoint, config_file
from metarl.training.run import Run

FOLDER = Path(__file__).parents[1] / "shipped"
LEFT_OUT = ("per_task", "command")
"""Of an evaluation: its size, and paths of the machine that it was made on."""


@dataclass(frozen=True)
class Pretrained:
    """A policy that comes with the package: how it was trained, and what it earns.

    Attributes:
        name: of the preset; `metarl.load(name)` opens it.
        path: its run folder.
        method: in words.
        env: family and preset of the environment.
        seed, iteration, env_steps: of training.
        evaluation: what `metarl evaluate` wrote about it on held-out tasks, without its command and single tasks.
    """

    name: str
    path: Path
    method: str
    env: str
    seed: int
    iteration: int
    env_steps: int
    evaluation: dict[str, Any]

    @property
    def returns(self) -> list[float]:
        """Mean return after 0, 1, ... gradient steps, or in each episode of a trial."""
        return self.evaluation["adaptation"]["mean"]

    def __str__(self) -> str:
        trial = self.evaluation["stages"]["num_episodes"]
        unit = "over gradient steps" if not trial else "in an episode" if trial == 1 else "over episodes"
        earned = " → ".join(f"{x:.2f}" for x in self.returns)
        return f"{self.name}: {earned} {unit}, mean of {self.evaluation['num_tasks']} tasks of {self.env}"


def pretrained() -> dict[str, Pretrained]:
    """The policies that come with the package, by name; as text, each says what it earns and on which tasks."""
    return {path.parent.name: _read(path.parent) for path in sorted(FOLDER.glob("*/config.json"))}


def run_folder(path: Path) -> Path:
    """The folder itself; where there is none, that of the policy which comes with the package under this name."""
    return path if path.exists() or not (FOLDER / path / "config.json").exists() else FOLDER / path


def _read(path: Path) -> Pretrained:
    evaluation = json.loads((path / "evaluation.json").read_text())
    return Pretrained(
        path.name,
        path,
        evaluation["algorithm"],
        evaluation["env"],
        evaluation["train_seed"],
        evaluation["iteration"],
        evaluation["env_steps"],
        evaluation,
    )


def ship(run_dir: Path, folder: Path = FOLDER) -> Path:
    """Make a policy that comes with the package from a run that was evaluated on the split test.

    The same run gives the same files.

    Returns:
        The new folder.

    Raises:
        InputError: for a run without a checkpoint or evaluation, or one that has been trained since.
    """
    run = Run.open(run_dir)
    run.require_checkpoint()
    written = run_dir / "evaluation-test.json"
    require(written.exists(), f"{run_dir} was not evaluated; `metarl evaluate {run_dir}` does it.")
    evaluation = json.loads(written.read_text())
    found = evaluation["iteration"]
    require(found == run.iteration, f"{written} is of iteration {found}, and the run is at {run.iteration}.")
    state = run.state_dict()
    fresh = Run(run_dir, *config_file.read_run(run_dir)).algorithm.state_dict()
    if "optimizer" in fresh:
        state["algorithm"]["optimizer"] = fresh["optimizer"]
    path = folder / run.preset
    path.mkdir(parents=True, exist_ok=True)
    content = checkpoint.pack(state)
    write_atomically(path / "checkpoint.pt", lambda part: part.write_bytes(content))
    write_json(path / "config.json", run.description, indent=2)
    write_json(path / "evaluation.json", {name: x for name, x in evaluation.items() if name not in LEFT_OUT})
    return path
