"""Load what was trained, to act with it."""

from __future__ import annotations

import difflib
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import envs
from envs.core import Env
from envs.errors import InputError, require
from metarl.agent.learner import Learner
from metarl.agent.pretrained import pretrained
from metarl.algorithms.sb3_file import check_spaces
from metarl.training import checkpoint, config_file
from metarl.training.run import Run


@dataclass(frozen=True, eq=False)
class Agent:
    """A trained policy. It does not change: each `begin` is a fresh start from it.

    Attributes:
        run: what it was trained by.
        saved: of a learner that was saved, its state.
    """

    run: Run
    saved: dict[str, Any] | None = None

    @property
    def env(self) -> Env:
        """The environment that it was trained in, as the policy saw it: spaces and horizon."""
        return self.run.algorithm.seen(self.run.env)

    def check_env(self, env: Any) -> None:
        """Raise `InputError` unless a Gymnasium environment, single or vector, has this policy's spaces."""
        single = getattr(env, "single_observation_space", None) is not None
        trained_on = f"{self.run.config.env}/{self.run.config.env_preset}"
        check_spaces(self.env, _Single(env) if single else env, f"This policy of {trained_on}")

    def begin(
        self,
        num_envs: int | None = None,
        seed: int | None = None,
        episodes_per_step: int | None = None,
        num_steps: int | None = None,
    ) -> Learner:
        """Begin on a task: the memory empty, the parameters as they were trained; or go on as a learner was saved.

        Args:
            num_envs: lanes of a vector environment, all on the same task; by default 1.
            seed: of random actions; by default another one each time.
            episodes_per_step: of a method that adapts by gradient steps, how many episodes each of them learns from, in
                all lanes together; by default as many as in training, rounded up to a multiple of `num_envs`.
            num_steps: gradient steps in all; by default 3, as in evaluation.

        Raises:
            InputError: for steps that the method does not take, and where a saved learner had others.
        """
        if self.saved is None:
            num_envs = 1 if num_envs is None else num_envs
            require(isinstance(num_envs, int) and num_envs >= 1, f"num_envs must be at least 1, not {num_envs!r}.")
            seed = secrets.randbits(62) if seed is None else seed
            return Learner(self.run, num_envs, seed, episodes_per_step, num_steps)
        asked = {"num_envs": num_envs, "episodes_per_step": episodes_per_step, "num_steps": num_steps}
        for name, value in asked.items():
            found = self.saved[name]
            require(value in (None, found), f"This learner was saved with {name}={found} and goes on with it.")
        learner = Learner(self.run, **{name: self.saved[name] for name in asked})
        learner.load_state_dict(self.saved)
        if seed is not None:
            learner.generator.manual_seed(seed)
        return learner

    def export(self, path: Path | str) -> None:
        """Write one step of the policy, as `begin` starts it, as an ONNX graph; see `Learner.export`."""
        self.begin(seed=0).export(path)

    def to_sb3(self, env: Any = None, **options: Any) -> Any:
        """The policy, as `begin` starts it, as the start of a `stable_baselines3.PPO`; see `Learner.to_sb3`."""
        return self.begin(seed=0).to_sb3(env, **options)


class _Single:
    """The spaces of one lane of a vector environment."""

    def __init__(self, env: Any) -> None:
        self.observation_space, self.action_space = env.single_observation_space, env.single_action_space


def load(path: Path | str, device: str = "cpu") -> Agent:
    """A trained policy from a run folder, from a file that `Learner.save` wrote, or one that comes with the package.

    Nothing is unpickled, so that a file from somebody else executes nothing.

    Args:
        path: of a folder or file; or, where there is none, a name of `metarl.pretrained()`.

    Raises:
        InputError: when there is none, a run has no checkpoint, or the file holds something else.
    """
    path = Path(path) if Path(path).exists() else _shipped(str(path))
    if path.is_dir():
        run = Run.open(path, device)
        run.require_checkpoint()
        return Agent(run)
    return _saved(path, device)


def _shipped(name: str) -> Path:
    """The folder of a policy that comes with the package. Raises `InputError` with the nearest name."""
    policies = pretrained()
    if name not in policies:
        nearest = difflib.get_close_matches(name, policies, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ", and metarl.pretrained() has none of that name."
        raise InputError(f"There is neither a run folder nor a saved learner {name}{hint}")
    return policies[name].path


def _saved(path: Path, device: str) -> Agent:
    """An agent from the file of a learner."""
    try:
        state = checkpoint.unpack(path.read_bytes(), envs.check_device(device))
        description = json.loads(state["run"])
        run = Run(path, *config_file.parse(description, path), device, imports=config_file.imports(description))
        run.load_state_dict(checkpoint.check(state, run.state_dict(), path))
        agent = Agent(run, state["learner"])
        agent.begin()
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, StopIteration):
        raise InputError(f"{path} is not what a learner saves, or is damaged; load the folder of its run.") from None
    return agent
