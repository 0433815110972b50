"""from_gymnasium: any Gymnasium environment as a family of tasks, its lanes stepped in worker processes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Generator, Tensor

from envs.core import Env, Reference, StepResult
from envs.errors import InputError, require
from envs.fields import Checked, NonNegativeInt, PositiveInt
from envs.kinds import counts
from envs.structs import Struct
from envs.workers.frames import Frames
from envs.workers.pool import Pool, usable_cores
from envs.workers.spaces import Description, acted_space, observed_space
from envs.workers.tasks import Sample, Tasks, own_tasks, sets_tasks, tasks_of
from envs.workers.worker import Program, said

Score = Callable[[dict[str, Any]], float]
"""`(info) -> number`."""

SERIALS = itertools.count(1)
"""Of states, in this process: which of them is the latest."""


@dataclass(frozen=True)
class GymnasiumConfig(Checked):
    """Parameters of a family that steps Gymnasium environments."""

    horizon: PositiveInt
    """Steps in an episode."""
    workers: NonNegativeInt = 0
    """Worker processes; 0 takes one for each core. Results do not depend on it."""


@dataclass(frozen=True, eq=False)
class State(Struct):
    """Where the environments are; only the latest one can be stepped. Seed and actions replay an episode."""

    serial: Tensor  # [N, E] int64
    seed: Tensor  # [N, E] int64 of the episode
    action: Tensor  # [N, E, A], or [N, E] when discrete: the one that led here, 0 at the start
    obs: Tensor  # [N, E, O] or [N, E, H, W, C]
    score: Tensor  # [N, E, K] of the step that led here, 0 at the start


class GymnasiumFamily:
    """What `envs.register` takes for Gymnasium environments; see `from_gymnasium`."""

    mmer_steps = 0  # of its environments

    def __init__(
        self,
        make: Any,
        tasks: Any,
        sample_tasks: Sample | None,
        apply: Any,
        horizon: int,
        references: Mapping[str, Any],
        scores: Mapping[str, Score],
    ) -> None:
        self.make, self.apply, self.given, self.sample = make, apply, tasks, sample_tasks
        self.given_references, self.scores = references, scores
        self.presets = {"default": GymnasiumConfig(horizon)}

    def __call__(self, config: GymnasiumConfig, device: torch.device) -> GymnasiumEnv:
        return (ScoredEnv if self.scores else GymnasiumEnv)(self, config, device)

    @cached_property
    def description(self) -> Description:
        """Raises `InputError` where `make` does not return a Gymnasium environment."""
        env = self.made()
        name = type(env.unwrapped).__name__
        limit = getattr(env.spec, "max_episode_steps", None)
        return Description(name, env.observation_space, env.action_space, limit, own_tasks(env), sets_tasks(env))

    @cached_property
    def tasks(self) -> Tasks:
        """Raises `InputError` where there are none, or they are not such as can be drawn."""
        told, sample = self.description, self.sample
        if self.given is None and sample is None:
            sample = told.sample
            require(sample is not None, f"{told.name} has no sample_tasks, so give from_gymnasium tasks=... .")
        settable = self.apply is not None or told.sets_tasks
        require(settable, f"{told.name} has no set_task or reset_task, so give from_gymnasium apply=... .")
        return tasks_of(self.given, sample)

    def made(self, **options: Any) -> gymnasium.Env:
        """An environment in this process. Raises `InputError`."""
        try:
            env = self.make(**options)
        except Exception as error:
            raise InputError(f"make() raised {said(error)}.") from error
        fits = isinstance(env, gymnasium.Env)
        require(fits, f"make() must return a gymnasium.Env, not an object of class {type(env).__name__}.")
        return env


def from_gymnasium(
    make: Callable[[], gymnasium.Env],
    tasks: Any = None,
    apply: Callable[[gymnasium.Env, Any], Any] | None = None,
    horizon: int = 200,
    sample_tasks: Sample | None = None,
    references: Mapping[str, Any] | None = None,
    scores: Mapping[str, Score] | None = None,
) -> GymnasiumFamily:
    """A family of tasks from Gymnasium environments, for `envs.register(id, envs.from_gymnasium(...))`.

    Args:
        make: returns an environment. Worker processes call it, once for each lane, so it must survive pickling (by
            cloudpickle: a lambda does).
        tasks: what varies between tasks: spaces by name, from which tasks are drawn uniformly; or a list of tasks, or
            contexts by id; or either for each split, as `{"train": ..., "test": ...}`. Validation and test tasks are as
            those for training where they are not given. Leave it out for an environment with a `sample_tasks(n)`.
        apply: `(env, task)` puts a task, such as `{"length": 0.5}`, into force; called before each reset. By default
            the environment's own `set_task` or `reset_task`.
        horizon: steps in an episode; a time limit of the environment must not be shorter.
        sample_tasks: `(n, rng)` draws n tasks with a `numpy.random.Generator`; `tasks` may then give their spaces.
        references: policies to compare with, by name, beside `random`: `(task [N], obs [N, E, O]) -> action`, of
            tensors, or an `envs.Reference`.
        scores: what an evaluation reports beside the return, by name: `(info) -> number`, of which an episode's last
            step counts, such as `{"success": lambda info: info["is_success"]}`.

    Images, uint8 [H, W, C], and Discrete and MultiDiscrete observations of many values stay what they are; other
    observations that are no vectors are flattened as `gymnasium.spaces.flatten` does. An environment must be
    determined by its task and the seed of `reset`, and its spaces must not differ by task.

    Raises:
        InputError: for arguments of another kind. What `make` returns is looked at when the family is first used.
    """
    scores = scores or {}
    for name, function in {"make": make, "apply": apply, "sample_tasks": sample_tasks, **scores}.items():
        given = function is not None or name == "make"
        require(not given or callable(function), f"{name} must be a function, not {function!r}.")
    return GymnasiumFamily(make, tasks, sample_tasks, apply, horizon, references or {}, scores)


class GymnasiumEnv(Env[Struct, State]):
    """N x E Gymnasium environments behind the interface of `Env`, in worker processes, which start at the first reset.

    An environment cannot go back, so `step` takes the latest state alone.
    """

    recordable = False
    fast = False

    def __init__(self, family: GymnasiumFamily, config: GymnasiumConfig, device: torch.device) -> None:
        told = family.description
        self.config, self.device, self.horizon, self.family = config, device, config.horizon, family
        self.tasks = family.tasks
        self.task_type, self.task_space = self.tasks.type, self.tasks.space
        self.splits = {split: part.words for split, part in self.tasks.splits.items()}
        self.observation_space = observed_space(told)
        self.action_space = acted_space(told)
        require(
            told.max_steps is None or told.max_steps >= self.horizon,
            f"{self.name} ends an episode after {told.max_steps} steps, before the horizon of {self.horizon}: choose a "
            "shorter horizon, or give gymnasium.make a larger max_episode_steps.",
        )
        objects = self.tasks.objects
        spaces_of_lane = told.observation_space, told.action_space
        program = Program(family.make, family.apply, objects, self.horizon, *spaces_of_lane, family.scores)
        obs = (self.observation_space.shape, self.observation_space.dtype.name)
        action = (self.action_space.shape or (), "int64" if counts(self.action_space) else "float32")
        self.pool = Pool(self.name, program, config.workers or usable_cores(), obs, action, self._told)
        self.frames = Frames(family, program)
        self.mmer_steps = family.mmer_steps
        self.serial, self.shape = 0, (0, 0)
        self.rows: list[dict[str, Any]] = []  # of the tasks in force

    @property
    def name(self) -> str:
        return self.family.description.name

    def sample_tasks(self, n: int, generator: Generator, split: str = "train") -> Struct:
        self.check_split(split)
        require(n >= 1, f"The number of tasks must be at least 1, not {n}.")
        return self.task_type(**self.tasks.splits[split].draw(n, generator))

    def reset(self, task: Struct, num_envs: int, generator: Generator) -> tuple[State, Tensor]:
        self.shape = len(task), num_envs
        self.pool.reserve(len(task) * num_envs)
        self.pool.memory.starting[:] = True
        return self._begin(task, generator)

    def restart(
        self, lanes: Tensor, task: Struct, state: State, obs: Tensor, generator: Generator
    ) -> tuple[State, Tensor]:
        self._check_latest(state)
        self.pool.memory.starting[: lanes.numel()] = lanes.cpu().numpy().reshape(-1)
        return self._begin(task, generator)

    def _begin(self, task: Struct, generator: Generator) -> tuple[State, Tensor]:
        """An episode in each lane that the memory marks as starting."""
        memory, lanes, (n, num_envs) = self.pool.memory, self.shape[0] * self.shape[1], self.shape
        seeds = torch.randint(2**31, self.shape, generator=generator, device=self.device).cpu().numpy().reshape(-1)
        starting = memory.starting[:lanes]
        memory.seed[:lanes][starting] = seeds[starting]
        memory.action[:lanes][starting] = 0
        self.rows = self.task_to_dicts(task)
        self.serial = next(SERIALS)
        self.pool.begin(lanes, np.arange(n).repeat(num_envs), [self.tasks.given(row) for row in self.rows])
        return self._state(), self._tensor(memory.obs)

    def step(self, task: Struct, state: State, action: Tensor, generator: Generator) -> StepResult[State]:
        self._check_latest(state)
        lanes, memory = self.shape[0] * self.shape[1], self.pool.memory
        memory.action[:lanes] = action.detach().cpu().numpy().reshape(memory.action[:lanes].shape)
        self.serial = next(SERIALS)
        self.pool.step()
        state = self._state()
        return StepResult(state, state.obs, self._tensor(memory.reward), self._tensor(memory.terminated))

    def _check_latest(self, state: State) -> None:
        latest = state.serial.shape == self.shape and self.pool.lanes and bool((state.serial == self.serial).all())
        require(
            bool(latest),
            f"{self.name} is a Gymnasium environment and cannot go back: step() takes the state that the last reset() "
            "or step() returned, and this one is older.",
        )

    def _state(self) -> State:
        memory = self.pool.memory
        serial = torch.full(self.shape, self.serial, device=self.device)
        told = (memory.seed, memory.action, memory.obs, memory.scores)
        return State(serial, *(self._tensor(numbers) for numbers in told))

    def _tensor(self, lanes: np.ndarray) -> Tensor:
        """A copy of the numbers of lanes, [N, E, ...]."""
        used = lanes[: self.shape[0] * self.shape[1]]
        return torch.from_numpy(used.copy()).view(*self.shape, *used.shape[1:]).to(self.device)

    def _told(self, lane: int) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.rows[lane // self.shape[1]].items())

    def references(self) -> dict[str, Reference]:
        own = {
            name: x if isinstance(x, Reference) else Reference(_of_obs(x))
            for name, x in self.family.given_references.items()
        }
        return {**super().references(), **own}

    def render(self, task: Struct, episode: State, earlier: Sequence[State] = (), size: int = 480) -> np.ndarray:
        row = self.task_to_dicts(task[None])[0]
        action = episode.action[1:].cpu().numpy()
        image = self.frames.draw(self.tasks.given(row), int(episode.seed[-1]), action, size)
        return super().render(task, episode, earlier, size) if image is None else image


class ScoredEnv(GymnasiumEnv):
    """With scores that environments report in their info; without any, an evaluation need not keep states."""

    def scores(self, task: Struct, states: State, action: Tensor, reward: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.family.scores, states.score[:, -1].unbind(-1), strict=True))


def _of_obs(function: Callable[[Any, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda task, state, memory, generator: function(task, state.obs)
