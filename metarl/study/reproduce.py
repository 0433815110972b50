"""The command lines that made an evaluated run, from its config.json and its evaluation."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import envs
from envs.core import SPLITS
from envs.errors import InputError
from metarl.study.runs import EvaluatedRun, leaves
from metarl.training.config import to_dict
from metarl.training.presets import preset, split_name

MODULE = ["--imports", "MODULE"]
"""Of a family that is not registered here: whoever runs the command knows its module."""


def commands(run: EvaluatedRun) -> list[str]:
    """Training and evaluation of a run, each as a line for a shell; a comment where there is no such line."""
    return [train_command(run), evaluate_command(run)]


def train_command(run: EvaluatedRun) -> str:
    """`python scripts/train.py PRESET --seed S` with every option in which the run differs from its preset."""
    try:
        standard = _plain(to_dict(preset(run.preset)))
    except InputError:
        if split_name(run.preset):
            return f"# {_line(run.path)} has no command here: give --imports the module of {_line(run.preset)}."
        return f"# {_line(run.path)} was not made by train.py: it has no preset {_line(run.preset)}."
    own, usual = leaves(run.train), leaves(standard)
    kinds = [key for key in own if key.endswith(".kind") and own[key] != usual.get(key)]
    if kinds or own.keys() - usual.keys():
        what = " and ".join(key.removesuffix(".kind") for key in kinds) or "fields"
        return f"# {_line(run.path)} has no command: its {what} are not those that the preset {run.preset} can have."
    taken = "policy." if own.get("init_sb3") else ()  # from that model
    changed = {key: value for key, value in own.items() if value != usual[key] and not key.startswith(taken)}
    if "env" in changed:
        changed["env_preset"] = own["env_preset"]
    env = {f"env.{key}": value for key, value in _changed_env(run).items()}
    words = ["train.py", run.preset, "--seed", str(run.seed)]
    words += ["--shards", str(run.shards)] if run.shards > 1 else []
    for key, value in {**{key.rpartition(".")[2]: value for key, value in changed.items()}, **env}.items():
        words += _option(key, value)
    return _command([*words, "--run-dir", str(run.path), *_imports(run)])


def evaluate_command(run: EvaluatedRun) -> str:
    """`python scripts/evaluate.py DIR` with every option in which the evaluation differs from the default."""
    e, train = run.evaluation, run.train
    words = ["evaluate.py", str(run.path)]
    if e["split"] in SPLITS:
        words += [] if e["num_tasks"] == train.get("eval_num_tasks") else ["--num-tasks", str(e["num_tasks"])]
        words += [] if e["split"] == "test" else ["--split", e["split"]]
    else:
        words += ["--tasks", e["split"]]
    words += [] if e["num_envs"] == train.get("eval_num_envs") else ["--num-envs", str(e["num_envs"])]
    refined = run.last_step + 1 - run.num_episodes
    if run.adaptation.trial:
        words += ["--refine-steps", str(refined)] if refined else []
    else:
        words += [] if run.last_step == 3 else ["--num-steps", str(run.last_step)]
    words += [] if e["seed"] == 0 else ["--seed", str(e["seed"])]
    words += [] if e["references"] else ["--no-references"]
    return _command([*words, *_imports(run)])


def record_command(run: EvaluatedRun) -> str:
    """Writes a video into the run's folder."""
    video = Path(run.path) / f"{run.path.resolve().name}.mp4"
    return _command(["record.py", str(run.path), "--output", str(video), *_imports(run)])


def _changed_env(run: EvaluatedRun) -> dict[str, Any]:
    """Fields of the environment that are not those of its preset; all of them where the family is not known here."""
    own, usual = leaves(run.env_config), {}
    if run.train["env"] in envs.FAMILIES:
        try:
            usual = leaves(_plain(to_dict(envs.make_config(run.train["env"], run.train["env_preset"]))))
        except InputError:  # a preset of another version
            usual = {}
    return {key: value for key, value in own.items() if key not in usual or usual[key] != value}


def _imports(run: EvaluatedRun) -> list[str]:
    return [] if run.train["env"] in envs.FAMILIES else MODULE


def _option(name: str, value: Any) -> list[str]:
    name = name.replace("_", "-")
    if isinstance(value, bool):
        head, dot, last = name.rpartition(".")
        return [f"--{name}" if value else f"--{head}{dot}no-{last}"]
    if isinstance(value, list):
        return [f"--{name}", *map(str, value)]
    return [f"--{name}={value}"] if str(value).startswith("-") else [f"--{name}", str(value)]


def _command(words: list[str]) -> str:
    return shlex.join(["python", f"scripts/{words[0]}", *words[1:]])


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back: lists for tuples."""
    return json.loads(json.dumps(config))


def _line(text: object) -> str:
    return " ".join(str(text).split())
