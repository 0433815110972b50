"""Run: a folder that holds one training run.

config.json     what is computed: preset, environment and training configuration
checkpoint.pt   parameters, random generator, iteration; from before the first iteration on; replaced atomically
metrics.jsonl   a line per meta-iteration
events.*        the same for TensorBoard, and the settings
command.txt     the command lines that made it, where they did
train-tasks.json  tasks of one's own to train on
.lock           while the run is trained

Where several processes train a run together, all of them hold it and the main one writes.
"""

from __future__ import annotations

import copy
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from torch import Generator

import envs
from envs.contract import draw_tasks
from envs.core import Env
from envs.errors import InputError, require
from envs.files import remove_partials
from envs.structs import Struct
from metarl.backend import distributed
from metarl.backend.distributed import main_only
from metarl.backend.files import locked, write_atomically
from metarl.policies.mlp import MLPPolicy
from metarl.training import checkpoint, config_file, env_options, metrics_log
from metarl.training.config import TrainConfig, make_algorithm, to_dict


class Run:
    """A run folder and the objects that its configuration describes.

    Args:
        policy: of a method that adapts by gradient steps, instead of the one that the configuration describes; its
            parameters are the start. The checkpoint keeps them.
        imports: modules, joined by commas, that register what the run needs; its folder names them.

    Attributes:
        path: the folder.
        preset: name of the preset that the run started from.
        config: the TrainConfig.
        env, algorithm, generator: as the configuration and the seed make them, or as the checkpoint left them.
        env_options: options of `env` that are not those that the run is trained with.
        train_tasks: tasks to train on, instead of those of the split train.
        num_shards: parts of a meta-batch with random streams of their own, spread over the processes.
        shard_generator: seeded anew for each of them.
        is_new: has it no folder yet?
        iteration: meta-iterations done.  env_steps, seconds: environment steps and training time spent on them.
    """

    def __init__(
        self,
        path: Path,
        preset: str,
        config: TrainConfig,
        env_config: Any,
        device: str = "cpu",
        policy: MLPPolicy | None = None,
        imports: str = "",
    ) -> None:
        self.path, self.preset, self.config, self.env_config = path, preset, config, env_config
        self.imports, self.env_options = imports, dict[str, Any]()
        self.device = envs.check_device(device)
        self.num_shards, processes = config.shards or 1, distributed.world_size()
        require(
            self.num_shards % processes == 0,
            f"The run {path} has {self.num_shards} shards, which {processes} "
            "processes cannot share equally; start as many as divide that, or make a new run with other --shards.",
        )
        self.env: Env = envs.family(config.env).build(env_config, self.device)
        self.generator, self.shard_generator = Generator(self.device).manual_seed(config.seed), Generator(self.device)
        self.train_tasks: Struct | None = None
        if config.train_tasks is not None:
            own = path / "train-tasks.json"
            self.train_tasks = envs.load_tasks(own if own.exists() else config.train_tasks, self.env)
        self.algorithm = make_algorithm(config, self.env, self.generator, policy, self.train_tasks)
        self.iteration, self.env_steps, self.seconds = 0, 0, 0.0
        self.is_new = True
        self._saved: tuple[int, ...] | None = None  # the checkpoint's mark when it was read or written

    @property
    def env_name(self) -> str:
        """Of the environment that `env` is: FAMILY/PRESET, and the options in which it is not that of training."""
        changed = (f"{name} {value}" for name, value in self.env_options.items())
        return ", ".join([f"{self.config.env}/{self.config.env_preset}", *changed])

    @property
    def description(self) -> dict[str, Any]:
        """The content of config.json."""
        imports = {"imports": self.imports} if self.imports else {}
        env = {"config": to_dict(self.env_config)}
        return {"preset": self.preset, **imports, "env": env, "train": to_dict(self.config)}

    def meta_batch(self) -> Struct:
        """Tasks of a meta-iteration: of the split train, or of those to train on, each as often as any other."""
        count = self.config.meta_batch_size
        if self.train_tasks is None:
            return draw_tasks(self.env, count, self.generator)
        return self.train_tasks[envs.equal_counts(count, len(self.train_tasks), self.generator)]

    def create(self) -> None:
        """Make the folder and write config.json. Raises `InputError` when it holds a run already or cannot be made."""
        self._make_folder()
        self.is_new = False

    @main_only
    def _make_folder(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self.locked():
                config_file.check_vacant(self.path, self.description)
                config_file.write(self.path, self.description)
                if self.train_tasks is not None:
                    name, own = self.config.env, self.path / "train-tasks.json"
                    envs.save_tasks(own, name, self.config.env_preset, self.env, self.train_tasks)
        except OSError as error:
            reason = error.strerror or error
            raise InputError(
                f"The run folder {self.path} cannot be made: {reason}; choose another --run-dir."
            ) from None

    def locked(self) -> AbstractContextManager[None]:
        """Within this context no other process can train the run; reading it is free. It may be entered again.

        Where several processes train together, the main one holds the lock for all.

        Raises:
            InputError: when another process holds it.
        """
        taken = f"{self.path} is being trained by another process; wait until that has ended, or stop it first."
        return locked(self.path, taken) if distributed.is_main() else nullcontext()

    @main_only
    def begin(self) -> None:
        """Make the folder ready to be trained: the log as far as the checkpoint, the configuration, a checkpoint.

        Raises:
            InputError: when another process has trained the run since this one opened it.
        """
        require(
            self._saved == self._mark(),
            f"{self.path} was trained by another process since it was opened here; open it again.",
        )
        for name in ("config.json", "checkpoint.pt", "metrics.jsonl"):
            remove_partials(self.path / name)
        self.trim_metrics()
        config_file.write(self.path, self.description)  # with the new number of iterations
        if self._saved is None:
            self.save()  # so that a log without a checkpoint means that one was lost

    @classmethod
    def open(
        cls,
        path: Path | str,
        device: str = "cpu",
        num_iterations: int | None = None,
        change_env: Callable[[Any], Any] = lambda env_config: env_config,
        options: Mapping[str, Any] | None = None,
    ) -> Run:
        """Load a run from its folder, at its checkpoint if it has one. Writes nothing.

        Args:
            change_env: replaces the environment's configuration, such as its physics engine.
            options: of the environment, other than those of training, to evaluate under: `{"horizon": 300}`.
            num_iterations: replaces the configured number, to train for longer.

        Raises:
            InputError: when the folder is no run, or its checkpoint is damaged, gone or of another run; for options
                that the environment lacks, or under which the policy does not fit its spaces.
        """
        path = Path(path)
        preset, config, trained = config_file.read_run(path)
        env_config = env_options.under(trained, options, config.env)
        if num_iterations is not None:
            config = dataclasses.replace(config, num_iterations=num_iterations)
        imports = config_file.imports(config_file.read(path))
        run = cls(path, preset, config, change_env(env_config), device, imports=imports)
        run.is_new, run.env_options = False, env_options.changed(env_config, trained)
        if (path / "checkpoint.pt").exists():
            run._load_checkpoint()
        else:
            last = max(metrics_log.read(path / "metrics.jsonl"), default=0)
            require(
                last == 0,
                f"{path} has lost its checkpoint.pt; its metrics.jsonl goes to iteration {last}; restore "
                "the checkpoint from a copy, or remove metrics.jsonl to start over.",
            )
            require(
                config.init_sb3 is None,
                f"{path} was stopped before it had taken over {config.init_sb3}; start a new run in another --run-dir.",
            )
        return run

    def require_checkpoint(self) -> None:
        """Raise `InputError` where there is no checkpoint, for then the parameters are fresh ones."""
        require(
            (self.path / "checkpoint.pt").exists(),
            f"{self.path} holds no checkpoint.pt: it was stopped before its "
            f"first iteration; `metarl train --resume {self.path}` trains it.",
        )

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
        """Write checkpoint.pt atomically, after the log of its iterations is on the disk."""
        content = checkpoint.pack(self.state_dict())  # to a full disk, torch.save would raise RuntimeError
        metrics_log.flush(self.path / "metrics.jsonl")
        write_atomically(self.path / "checkpoint.pt", lambda path: path.write_bytes(content))
        self._saved = self._mark()

    def share(self) -> None:
        """Give every process the state of the main one."""
        if distributed.world_size() > 1:
            content = distributed.from_main(checkpoint.pack(self.state_dict()))
            self.load_state_dict(checkpoint.unpack(content, self.device))

    def _mark(self) -> tuple[int, ...] | None:
        """What tells a checkpoint from one that replaced it; None where there is none."""
        try:
            stat = (self.path / "checkpoint.pt").stat()
        except FileNotFoundError:
            return None
        return stat.st_ino, stat.st_size, stat.st_mtime_ns

    def _load_checkpoint(self) -> None:
        path = self.path / "checkpoint.pt"
        self._saved = self._mark()  # before it is read: where it is replaced in between, `begin` refuses
        state = checkpoint.read(path, self.state_dict(), self.device)
        try:
            self.load_state_dict(state)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if self.env_options:
                reason = f"{path} does not fit the environment {self.env_name}: {checkpoint.reason(error)}"
                raise InputError(f"{reason}; leave these options out.") from None
            raise checkpoint.foreign(path, error) from None

    @main_only
    def trim_metrics(self) -> None:
        """Drop lines of metrics.jsonl that were written after the checkpoint, so that a resumed run repeats none.

        Says on standard error where lines are missing.
        """
        path = self.path / "metrics.jsonl"
        missing = metrics_log.trim(path, self.iteration)
        if missing:
            gap = f"lacks {len(missing)} of the {self.iteration} iterations that the checkpoint covers"
            print(f"note: {path} {gap}, the first of them {missing[0]}; the gap stays.", file=sys.stderr)

    @main_only
    def log(self, metrics: dict[str, float]) -> None:
        """Append a line to metrics.jsonl."""
        metrics_log.append(self.path / "metrics.jsonl", metrics)
