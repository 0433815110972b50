"""Families in words: rows of a name and what it stands for, such as metarl envs prints."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from envs import extras
from envs.contract import all_references, draw_tasks, task_dicts
from envs.core import task_generator
from envs.errors import require
from envs.kinds import in_words
from envs.registry import family, make
from envs.tasks import describe_parameters, describe_task, meanings, save_tasks

Rows = list[tuple[str, ...]]


def family_rows(id: str, preset: str | None = None) -> Rows:
    """What varies between tasks of a family, with its spaces, splits and references under one preset.

    Raises:
        InputError: for an unknown id or preset.
    """
    known, env = family(id), make(id, preset)
    steps = (f"{name} ({known.build(config, env.device).horizon})" for name, config in known.presets.items())
    rows: Rows = [("presets (steps)", ", ".join(steps))]
    rows += [(f"task: {name}", words) for name, words in describe_parameters(env).items()]
    rows += [("observation", in_words(env.observation_space)), ("action", in_words(env.action_space))]
    rows += [(f"split: {name}", words) for name, words in env.splits.items()]
    return [*rows, ("references", " · ".join(all_references(env)))]


def parameter_rows(id: str) -> Rows:
    """Of each parameter of a family: name, value in the first preset, meaning and where other presets differ.

    Raises:
        InputError: for an unknown id.
    """
    presets = family(id).presets
    first = presets[family(id).default]
    said = meanings(type(first))
    rows: Rows = []
    for name, default in ((field.name, getattr(first, field.name)) for field in dataclasses.fields(first)):
        others = {preset: getattr(config, name) for preset, config in presets.items()}
        changed = ", ".join(f"{preset} {value!r}" for preset, value in others.items() if value != default)
        rows.append((name, repr(default), said.get(name, "") + (f" · {changed}" if changed else "")))
    return rows


def package_rows() -> Rows:
    """Of each package that is an extra: its families, or how to install it."""
    rows: Rows = []
    for package, told in extras.PACKAGES.items():
        there = ", ".join(extras.names(package)) if extras.is_installed(package) else None
        rows.append((f"{package}-NAME", f"{told.title}: {there or extras.how_to_install(package)}"))
    return rows


@dataclass(frozen=True)
class Draw:
    """Tasks to draw."""

    sample: int = 0
    """Draw so many tasks of the family and describe each in a line."""
    split: str = "train"
    """Where to draw them from: train, validation, test or ood."""
    seed: int = 0
    """Seed of the draw."""
    output: Path | None = None
    """Save the drawn tasks to this .json file."""

    def check(self) -> None:
        """Raise `InputError` for a value that does not make sense."""
        require(self.sample >= 0, f"sample must be at least 0, not {self.sample}.")
        require(0 <= self.seed < 2**63, f"seed must lie in 0 .. 2^63 - 1, not {self.seed}.")
        for name, value in vars(self).items():
            idle = self.sample == 0 and value != getattr(Draw, name)
            require(not idle, f"{name} has no use without sample, the number of tasks to draw.")


def drawn_tasks(id: str, preset: str | None, draw: Draw) -> list[str]:
    """A line for each task drawn, and one for the file they were saved to.

    Raises:
        InputError: for an unknown id, preset or split, or an output that does not suit.
        OSError: when the file cannot be written.
    """
    draw.check()
    env, preset = make(id, preset), preset or family(id).default
    task = draw_tasks(env, draw.sample, task_generator(draw.seed, draw.split), draw.split)
    lines = [describe_task(env, row) for row in task_dicts(env, task)]
    if draw.output is not None:
        lines.append(f"Wrote {save_tasks(draw.output, id, preset, env, task, draw.split, draw.seed)}")
    return lines
