"""Families in words: rows of a name and what it stands for, such as list_envs.py prints."""

from __future__ import annotations

import dataclasses

from envs.contract import all_references
from envs.registry import family, make
from envs.tasks import describe_parameters, meanings

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
    rows += [("observation", str(env.observation_space)), ("action", str(env.action_space))]
    rows += [(f"split: {name}", words) for name, words in env.splits.items()]
    return [*rows, ("references", " · ".join(all_references(env)))]


def parameter_rows(id: str) -> Rows:
    """Of each parameter of a family: name, value in the first preset, meaning and where other presets differ.

    Raises:
        InputError: for an unknown id.
    """
    presets = family(id).presets
    first = next(iter(presets.values()))
    said = meanings(type(first))
    rows: Rows = []
    for name, default in ((field.name, getattr(first, field.name)) for field in dataclasses.fields(first)):
        others = {preset: getattr(config, name) for preset, config in presets.items()}
        changed = ", ".join(f"{preset} {value!r}" for preset, value in others.items() if value != default)
        rows.append((name, repr(default), said.get(name, "") + (f" · {changed}" if changed else "")))
    return rows
