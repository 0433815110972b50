"""config.json of a run folder: written atomically, read with care, compared field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import envs
from envs.errors import InputError, require
from metarl.backend import distributed
from metarl.backend.files import write_atomically
from metarl.training import modules
from metarl.training.config import TrainConfig, from_dict


def read(path: Path) -> dict[str, Any]:
    """The content of a run folder's config.json. Raises `InputError` when there is none, or it is damaged."""
    require(path.is_dir(), f"There is no run folder {path}.")
    file = path / "config.json"
    require(file.is_file(), f"{path} is not a run folder: it holds no config.json.")
    try:
        description = json.loads(file.read_text())
    except (ValueError, RecursionError):
        raise InputError(f"{file} is damaged: it is not JSON, or too deeply nested.") from None
    require(isinstance(description, dict), f"{file} is damaged: it is not a JSON object.")
    return renewed(description)


def renewed(description: dict[str, Any]) -> dict[str, Any]:
    """The content of a config.json of an earlier version by today's names: RL² had no cell but a GRU."""
    train = description.get("train")
    policy = train.get("policy") if isinstance(train, dict) else None
    if not isinstance(train, dict) or not isinstance(policy, dict) or policy.get("kind") != "GRUConfig":
        return description
    others = {name: value for name, value in policy.items() if name not in ("kind", "see_state")}
    head = "state" if policy.get("see_state") else "plain"
    named = {"kind": "RL2Config", "cell": "gru", "head": head, "num_layers": 2, **others}
    return {**description, "train": {**train, "policy": named}}


def read_run(path: Path) -> tuple[str, TrainConfig, Any]:
    """Preset, training configuration and environment configuration of a run folder. Raises `InputError`."""
    return parse(read(path), path / "config.json")


def parse(description: dict[str, Any], file: Path) -> tuple[str, TrainConfig, Any]:
    """The same of the content of a config.json; messages name `file`. Raises `InputError`."""
    with _in_words(file):
        description = renewed(description)
        preset, train, env = description["preset"], description["train"], description["env"]["config"]
        require(isinstance(preset, str), f"the preset is {preset!r}")
        config = from_dict(TrainConfig(), train, whole=True)
    if config.env not in envs.FAMILIES:
        modules.load(imports(description), f"{file} names the imports")
    require(
        envs.is_known(config.env),
        f"{file} is of a run on the environment {config.env!r}, which is not registered; "
        "name the module that registers it with --imports.",
    )
    default = envs.make_config(config.env, config.env_preset)
    with _in_words(file):
        return preset, config, from_dict(default, env, whole=True)


def imports(description: dict[str, Any]) -> str:
    """The modules that register what a run needs, joined by commas."""
    names = description.get("imports", "")
    return names if isinstance(names, str) else ""


@contextmanager
def _in_words(file: Path) -> Iterator[None]:
    """Within this context what is raised about the content of a configuration is one sentence about its file."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, InputError) as error:
        why = f"the field {error} is missing" if isinstance(error, KeyError) else str(error).removesuffix(".")
        raise InputError(f"{file} is damaged or of another version: {why}.") from None


def write(path: Path, description: dict[str, Any]) -> None:
    """Write config.json atomically, unless it says the same already; with the number of threads of one process."""
    threads = {"threads": torch.get_num_threads()} if distributed.world_size() == 1 else {}
    text = json.dumps({**description, **threads}, indent=2) + "\n"
    file = path / "config.json"
    if not file.exists() or file.read_text() != text:
        write_atomically(file, lambda part: part.write_text(text))


def check_vacant(path: Path, description: dict[str, Any]) -> None:
    """Raise `InputError` when a folder holds a run already, or a part of one."""
    if (path / "config.json").exists():
        other = read(path)
        other.pop("threads", None)  # another session's
        difference = first_difference(other, json.loads(json.dumps(description)))
        what = f"a run with another configuration ({difference})" if difference else "this run"
        raise InputError(f"{path} already holds {what}; go on with it by --resume {path}, or choose another --run-dir.")
    for name in ("checkpoint.pt", "metrics.jsonl"):
        taken = (path / name).exists()
        require(not taken, f"{path} holds a {name} without its config.json; choose another --run-dir.")


def recorded_threads(path: Path) -> int | None:
    """Threads that PyTorch had when a run was made or last gone on with; None where config.json does not say."""
    number = read(path).get("threads")
    return number if isinstance(number, int) and number >= 1 else None


def first_difference(there: Any, here: Any, name: str = "") -> str | None:
    """A sentence part about the first field in which two configurations differ."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted({*there, *here}):
            difference = first_difference(there.get(key), here.get(key), key)
            if difference:
                return difference
        return None
    return None if there == here else f"{name} is {there} there and {here} here"
