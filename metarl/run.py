"""Run: a folder that holds one training run.

config.json     what is computed: preset, environment and training configuration
checkpoint.pt   parameters, random generator, iteration; replaced atomically
metrics.jsonl   a line per meta-iteration
events.*        the same for TensorBoard
"""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Generator

import envs
from envs.core import Env
from envs.errors import InputError, require
from metarl.config import TrainConfig
from metarl.maml import MAML, MAMLConfig
from metarl.policy import MLPConfig, make_policy

CHECKPOINT_KEYS = {"iteration", "env_steps", "seconds", "algorithm", "generator"}


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside `path`, flush it to disk and rename it, so that a kill at any moment leaves a whole file."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class Run:
    """A run folder and the objects that its configuration describes.

    Attributes:
        path: the folder.
        preset: name of the preset that the run started from.
        config: the TrainConfig.
        env, algorithm, generator: as the configuration and the seed make them, or as the checkpoint left them.
        iteration: meta-iterations done.  env_steps, seconds: environment steps and training time spent on them.
    """

    def __init__(self, path: Path, preset: str, config: TrainConfig, env_config: Any, device: str = "cpu") -> None:
        self.path, self.preset, self.config, self.env_config = path, preset, config, env_config
        self.device = envs.check_device(device)
        self.env: Env = envs.family(config.env).env_class(env_config, self.device)
        self.generator = Generator(self.device).manual_seed(config.seed)
        policy = make_policy(self.env.observation_space, self.env.action_space, config.policy)
        self.algorithm = MAML(config.algorithm, policy, policy.init(self.generator))
        self.iteration, self.env_steps, self.seconds = 0, 0, 0.0

    @property
    def description(self) -> dict[str, Any]:
        """The content of config.json."""
        env = {"config": dataclasses.asdict(self.env_config)}
        return {"preset": self.preset, "env": env, "train": dataclasses.asdict(self.config)}

    def create(self) -> None:
        """Make the folder and write config.json. Raises `InputError` when the folder already holds a run."""
        if (self.path / "config.json").exists():
            other = _read_config(self.path)
            difference = _first_difference(other, json.loads(json.dumps(self.description)))
            what = f"a run with another configuration ({difference})" if difference else "this run"
            raise InputError(
                f"{self.path} already holds {what}; go on with it by --resume {self.path}, or choose another --run-dir."
            )
        self.path.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.description, indent=2) + "\n"
        write_atomically(self.path / "config.json", lambda path: path.write_text(text))

    @classmethod
    def open(cls, path: Path, device: str = "cpu", num_iterations: int | None = None) -> Run:
        """Load a run from its folder, at its checkpoint if it has one.

        Args:
            num_iterations: replaces the configured number, to train for longer.

        Raises:
            InputError: when the folder is no run, or its checkpoint is truncated or of another run.
        """
        description = _read_config(path)
        try:
            train = dict(description["train"])
            train["policy"] = MLPConfig(**{**train["policy"], "hidden_sizes": tuple(train["policy"]["hidden_sizes"])})
            train["algorithm"] = MAMLConfig(**train["algorithm"])
            if num_iterations is not None:
                train["num_iterations"] = num_iterations
            config = TrainConfig(**train)
            env_config = envs.make_config(config.env, config.env_preset, **description["env"]["config"])
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}/config.json was not written by this version: {error}.") from None
        run = cls(path, description["preset"], config, env_config, device)
        if (path / "checkpoint.pt").exists():
            run._load_checkpoint()
        return run

    def save(self) -> None:
        """Write config.json and checkpoint.pt atomically."""
        state = {
            "iteration": self.iteration,
            "env_steps": self.env_steps,
            "seconds": self.seconds,
            "algorithm": self.algorithm.state_dict(),
            "generator": self.generator.get_state(),
        }
        write_atomically(self.path / "checkpoint.pt", lambda path: torch.save(state, path))

    def _load_checkpoint(self) -> None:
        path = self.path / "checkpoint.pt"
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{path} is truncated or not a checkpoint of this toolkit ({reason}).") from None
        foreign = f"{path} is not a checkpoint of the run in config.json beside it"
        require(isinstance(state, dict) and state.keys() >= CHECKPOINT_KEYS, f"{foreign}: fields are missing.")
        try:
            self.algorithm.load_state_dict(state["algorithm"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{foreign}: {error}.") from None
        self.iteration, self.env_steps, self.seconds = state["iteration"], state["env_steps"], state["seconds"]
        generator = state["generator"].cpu()
        if generator.shape == self.generator.get_state().shape:  # a CUDA generator's state does not fit the CPU's
            self.generator.set_state(generator)

    def trim_metrics(self) -> None:
        """Drop lines of metrics.jsonl that were written after the checkpoint, so that a resumed run repeats none."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        kept = []
        for line in path.read_text().splitlines():
            try:
                if json.loads(line)["iteration"] <= self.iteration:
                    kept.append(line + "\n")
            except (json.JSONDecodeError, KeyError):
                continue  # the line that a kill cut short
        write_atomically(path, lambda p: p.write_text("".join(kept)))

    def log(self, metrics: dict[str, float]) -> None:
        """Append a line to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(metrics) + "\n")


def _read_config(path: Path) -> dict[str, Any]:
    require(path.is_dir(), f"There is no run folder {path}.")
    try:
        description = json.loads((path / "config.json").read_text())
        require(isinstance(description, dict), f"{path}/config.json is damaged.")
        return description
    except FileNotFoundError:
        raise InputError(f"{path} is not a run folder: it holds no config.json.") from None
    except json.JSONDecodeError:
        raise InputError(f"{path}/config.json is damaged: it is not JSON.") from None


def _first_difference(there: Any, here: Any, name: str = "") -> str | None:
    """A sentence part about the first field in which two configurations differ."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted({*there, *here}):
            difference = _first_difference(there.get(key), here.get(key), key)
            if difference:
                return difference
        return None
    return None if there == here else f"{name} is {there} there and {here} here"
