"""Run: a folder that holds one training run.

config.json     what is computed: preset, environment and training configuration
checkpoint.pt   parameters, random generator, iteration; replaced atomically
metrics.jsonl   a line per meta-iteration
events.*        the same for TensorBoard, and the settings

Where several processes train a run together, all of them hold it and the main one writes.
"""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Generator

import envs
from envs.core import Env
from envs.errors import InputError, require
from envs.files import remove_partials
from metarl import distributed
from metarl.config import TrainConfig, from_dict, make_algorithm, to_dict
from metarl.distributed import main_only
from metarl.files import write_atomically
from metarl.policy import MLPPolicy


class Run:
    """A run folder and the objects that its configuration describes.

    Args:
        policy: of a method that adapts by gradient steps, instead of the one that the configuration describes; its
            parameters are the start. The checkpoint keeps them.

    Attributes:
        path: the folder.
        preset: name of the preset that the run started from.
        config: the TrainConfig.
        env, algorithm, generator: as the configuration and the seed make them, or as the checkpoint left them.
        num_shards: parts of a meta-batch with random streams of their own, spread over the processes.
        shard_generator: seeded anew for each of them.
        iteration: meta-iterations done.  env_steps, seconds: environment steps and training time spent on them.
    """

    def __init__(
        self, path: Path, preset: str, config: TrainConfig, env_config: Any, device: str = "cpu",
        policy: MLPPolicy | None = None,
    ) -> None:  # fmt: skip
        self.path, self.preset, self.config, self.env_config = path, preset, config, env_config
        self.device = envs.check_device(device)
        self.num_shards, processes = config.shards or 1, distributed.world_size()
        require(
            self.num_shards % processes == 0, f"The run {path} has {self.num_shards} shards, which {processes} "
            "processes cannot share equally; start as many as divide that, or make a new run with other --shards.",
        )  # fmt: skip
        self.env: Env = envs.family(config.env).env_class(env_config, self.device)
        self.generator, self.shard_generator = Generator(self.device).manual_seed(config.seed), Generator(self.device)
        self.algorithm = make_algorithm(config, self.env, self.generator, policy)
        self.iteration, self.env_steps, self.seconds = 0, 0, 0.0

    @property
    def description(self) -> dict[str, Any]:
        """The content of config.json."""
        return {"preset": self.preset, "env": {"config": to_dict(self.env_config)}, "train": to_dict(self.config)}

    @main_only
    def create(self) -> None:
        """Make the folder and write config.json. Raises `InputError` when it holds a run already or cannot be made."""
        if (self.path / "config.json").exists():
            other = read_config(self.path)
            other.pop("threads", None)  # another session's
            difference = first_difference(other, json.loads(json.dumps(self.description)))
            what = f"a run with another configuration ({difference})" if difference else "this run"
            raise InputError(
                f"{self.path} already holds {what}; go on with it by --resume {self.path}, or choose another --run-dir."
            )
        for name in ("checkpoint.pt", "metrics.jsonl"):
            taken = (self.path / name).exists()
            require(not taken, f"{self.path} holds a {name} without its config.json; choose another --run-dir.")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.write_config()
        except OSError as error:
            reason = error.strerror or error
            raise InputError(
                f"The run folder {self.path} cannot be made: {reason}; choose another --run-dir."
            ) from None

    @main_only
    def write_config(self) -> None:
        """Write config.json atomically."""
        threads = {"threads": torch.get_num_threads()} if distributed.world_size() == 1 else {}
        text = json.dumps({**self.description, **threads}, indent=2) + "\n"
        write_atomically(self.path / "config.json", lambda path: path.write_text(text))

    @classmethod
    def open(
        cls,
        path: Path | str,
        device: str = "cpu",
        num_iterations: int | None = None,
        change_env: Callable[[Any], Any] = lambda env_config: env_config,
    ) -> Run:
        """Load a run from its folder, at its checkpoint if it has one. Writes nothing.

        Args:
            change_env: replaces the environment's configuration, such as its physics engine.
            num_iterations: replaces the configured number, to train for longer.

        Raises:
            InputError: when the folder is no run, or its checkpoint is truncated or of another run.
        """
        path = Path(path)
        description = read_config(path)
        try:
            config = from_dict(TrainConfig(), description["train"])
            require(
                config.env in envs.FAMILIES,
                f"{path} is a run on the environment {config.env!r}, which is not registered; "
                "name the module that registers it with --imports.",
            )
            env_config = from_dict(envs.make_config(config.env, config.env_preset), description["env"]["config"])
            preset = description["preset"]
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}/config.json is damaged or of another version: {_in_words(error)}.") from None
        if num_iterations is not None:
            config = dataclasses.replace(config, num_iterations=num_iterations)
        run = cls(path, preset, config, change_env(env_config), device)
        if (path / "checkpoint.pt").exists():
            run._load_checkpoint()
        else:
            require(
                config.init_sb3 is None, f"{path} was stopped before it had taken {config.init_sb3} over; start anew "
                "in another --run-dir.",
            )  # fmt: skip
        return run

    def require_checkpoint(self) -> None:
        """Raise `InputError` where there is no checkpoint, for then the parameters are fresh ones."""
        require(
            (self.path / "checkpoint.pt").exists(), f"{self.path} holds no checkpoint.pt: it was stopped before its "
            f"first, or the file is lost; `python scripts/train.py --resume {self.path}` trains it.",
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """A copy of everything that training changes."""
        return {
            "iteration": self.iteration,
            "env_steps": self.env_steps,
            "seconds": self.seconds,
            "algorithm": copy.deepcopy(self.algorithm.state_dict()),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what `state_dict` returned."""
        self.algorithm.load_state_dict(state["algorithm"])
        generator = state["generator"].cpu()
        if generator.shape == self.generator.get_state().shape:  # a CUDA generator's state does not fit the CPU's
            self.generator.set_state(generator)
        self.iteration, self.env_steps = int(state["iteration"]), int(state["env_steps"])
        self.seconds = float(state["seconds"])

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Within this context an error takes back what training changed since its start."""
        before = self.state_dict()
        try:
            yield
        except BaseException:
            self.load_state_dict(before)
            raise

    @main_only
    def save(self) -> None:
        """Write checkpoint.pt atomically."""
        content = self._to_bytes()  # to a full disk, torch.save would raise RuntimeError
        write_atomically(self.path / "checkpoint.pt", lambda path: path.write_bytes(content))

    def share(self) -> None:
        """Give every process the state of the main one."""
        if distributed.world_size() > 1:
            self.load_state_dict(self._from_bytes(distributed.from_main(self._to_bytes())))

    def _to_bytes(self) -> bytes:
        buffer = io.BytesIO()
        torch.save(self.state_dict(), buffer)
        return buffer.getvalue()

    def _from_bytes(self, content: bytes) -> Any:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(io.BytesIO(content), map_location=self.device, weights_only=True)

    def _load_checkpoint(self) -> None:
        path = self.path / "checkpoint.pt"
        content = path.read_bytes()
        try:
            state = self._from_bytes(content)
        except Exception:  # a damaged file can make the restricted unpickler raise almost anything
            raise InputError(f"{path} is truncated or not a checkpoint of this toolkit.") from None
        foreign = f"{path} is not a checkpoint of the run in config.json beside it"
        require(isinstance(state, dict), f"{foreign}: it holds a {type(state).__name__}.")
        try:
            self.load_state_dict(state)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise InputError(f"{foreign}: {_in_words(error)}.") from None

    @main_only
    def trim_metrics(self) -> None:
        """Drop lines of metrics.jsonl that were written after the checkpoint, so that a resumed run repeats none.

        What a kill left half written goes, too.
        """
        for name in ("config.json", "checkpoint.pt", "metrics.jsonl"):
            remove_partials(self.path / name)
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        kept = []
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                if json.loads(line)["iteration"] <= self.iteration:
                    kept.append(line)
            except (ValueError, KeyError, TypeError):
                continue  # the line that a kill cut short
        write_atomically(path, lambda p: p.write_bytes(b"".join(kept)))

    @main_only
    def log(self, metrics: dict[str, float]) -> None:
        """Append a line to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(metrics) + "\n")


def gradient_steps(run: Run, num_steps: int | None, refine_steps: int) -> int:
    """Gradient steps in evaluation, from --num-steps or --refine-steps. Raises `InputError` for the wrong one."""
    if run.algorithm.unit == "episodes":
        require(
            num_steps is None, f"{run.path} holds a policy with a memory, which adapts in the episodes of its trial; "
            "--refine-steps adds gradient steps.",
        )  # fmt: skip
        return refine_steps
    require(
        refine_steps == 0, f"--refine-steps is for policies with a memory, and {run.path} holds none; "
        "give --num-steps.",
    )  # fmt: skip
    return 3 if num_steps is None else num_steps


def read_config(path: Path) -> dict[str, Any]:
    require(path.is_dir(), f"There is no run folder {path}.")
    file = path / "config.json"
    require(file.is_file(), f"{path} is not a run folder: it holds no config.json.")
    try:
        description = json.loads(file.read_text())
    except ValueError:
        raise InputError(f"{file} is damaged: it is not JSON.") from None
    require(isinstance(description, dict), f"{file} is damaged: it is not a JSON object.")
    return description


def recorded_threads(path: Path) -> int | None:
    """Threads that PyTorch had when a run was made or last gone on with; None where config.json does not say."""
    number = read_config(path).get("threads")
    return number if isinstance(number, int) and number >= 1 else None


def _in_words(error: Exception) -> str:
    """The first line of an error's message, for a user."""
    message = (str(error) or type(error).__name__).splitlines()[0]
    return f"the field {message} is missing" if isinstance(error, KeyError) else message


def first_difference(there: Any, here: Any, name: str = "") -> str | None:
    """A sentence part about the first field in which two configurations differ."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted({*there, *here}):
            difference = first_difference(there.get(key), here.get(key), key)
            if difference:
                return difference
        return None
    return None if there == here else f"{name} is {there} there and {here} here"
