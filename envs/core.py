"""Env: a task distribution and its dynamics as pure, batched torch functions.

An Env holds no episode. Tasks, states and random generators go in and come out, so that the same object
serves any number of tasks and lanes, on any device, and a lane of a batch steps exactly as it would alone.
There is no autoreset here: it lives in `envs.adapters`, at the edge where other libraries expect it.
"""

from __future__ import annotations

import dataclasses
import reprlib
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor

from envs.defaults import picture, uniform
from envs.errors import InputError, require, unknown
from envs.kinds import ActionSpace, ObservationSpace, counts
from envs.structs import Struct, chosen, merged

TaskT = TypeVar("TaskT", bound=Struct)
StateT = TypeVar("StateT", bound=Struct)

SPLITS = ("train", "validation", "test", "ood")
"""`train`: the training distribution; `validation`: tasks to choose settings by; `test`: tasks that settings were not
chosen by, for tables; `ood`: outside the training range, in families that have such tasks."""


def fresh_splits(train: str, ood: str | None = None) -> dict[str, str]:
    """The sentences of a family whose validation and test tasks are new draws from the training distribution."""
    fresh = f"fresh draws from the same distribution: {train}"
    return {"train": train, "validation": fresh, "test": fresh, **({"ood": ood} if ood else {})}


def equal_counts(num_tasks: int, num_kinds: int, generator: Generator) -> Tensor:
    """Kinds 0 .. num_kinds - 1 of tasks [num_tasks] int64, in random order and equal numbers.

    Where `num_tasks` is no multiple of `num_kinds`, random ones have one more. For the evaluation of a family of few
    tasks: drawn independently, some of them would count several times as much as others.
    """
    kinds = torch.randperm(num_kinds, generator=generator, device=generator.device)
    repeated = kinds.repeat(-(-num_tasks // num_kinds))[:num_tasks]
    return repeated[torch.randperm(num_tasks, generator=generator, device=generator.device)]


def task_generator(seed: int, split: str, device: torch.device | str = "cpu") -> Generator:
    """A generator for drawing the tasks of a split: equal seeds give different tasks in different splits."""
    state = np.random.SeedSequence([seed, zlib.crc32(split.encode())]).generate_state(1, np.uint64)
    return Generator(device).manual_seed(int(state[0]) % 2**63)


@dataclass(frozen=True, eq=False)
class StepResult(Struct, Generic[StateT]):
    """What one step returns. `terminated` is the task's own ending and never a time limit."""

    state: StateT
    obs: Tensor  # [N, E, O] float32, or int64 of categories, or images [N, E, H, W, C] uint8
    reward: Tensor  # [N, E] float32
    terminated: Tensor  # [N, E] bool


@dataclass(frozen=True, eq=False)
class Transition(Struct, Generic[StateT]):
    """One step of every lane, as a reference policy with a memory sees it afterwards.

    Lanes run in lock step: one whose episode has terminated is stepped, and reported, until the next episode starts.
    """

    state: StateT  # [N, E, ...] before the step
    action: Tensor  # [N, E, A], or [N, E] when discrete
    reward: Tensor  # [N, E]
    next_state: StateT  # [N, E, ...] after the step, also at the end of an episode
    terminated: Tensor  # [N, E] bool


@dataclass(frozen=True)
class Reference:
    """A reference policy. It may use the state, and the task where its name says so.

    A memory is a Struct of tensors [N, E, ...] that `start` makes for a trial, `observe` updates after each step, and
    that survives the ends of episodes within the trial. Most references need none.
    """

    act: Callable[[Any, Any, Any, Generator], Tensor]
    """`(task [N], state [N, E], memory, generator) -> action`."""
    start: Callable[[Any, int, Generator], Any] = lambda task, num_envs, generator: None
    """`(task [N], num_envs, generator) -> memory`."""
    observe: Callable[[Any, Any, Transition], Any] = lambda task, memory, transition: memory
    """`(task, memory, transition) -> memory`."""


class Env(ABC, Generic[TaskT, StateT]):
    """A family of tasks that share spaces, horizon and dynamics up to the task's parameters.

    Attributes:
        config: the frozen dataclass of the family's parameters that this object was made from.
        task_type: the Struct class of a task.
        task_space: `gymnasium.spaces.Dict`, the schema of one task: a space for each field.
        observation_space: of a single environment, a Box: vectors of float32, or images uint8 [H, W, C], which policies
            scale by its bounds; or a MultiDiscrete [D] of categories, int64, of which policies learn embeddings.
        action_space: of a single environment: a Box of vectors, Discrete or MultiDiscrete.
        horizon: length of an episode in steps; an episode that reaches it is truncated.
        splits: one sentence for each split that says which tasks it holds.
        device: where tasks, states and observations live. Generators given to methods must live there too.

    A family must have the spaces, `task_type`, a `horizon`, `reset` and `step`; all else has defaults.
    """

    config: Any
    task_type: type[TaskT]
    task_space: spaces.Dict
    observation_space: ObservationSpace
    action_space: ActionSpace
    horizon: int
    splits: Mapping[str, str]
    device: torch.device
    recordable: bool = True
    """Can `step` be recorded as a part of a CUDA graph?"""
    fast: bool = True
    """Are millions of steps a matter of seconds? Otherwise general presets evaluate on fewer tasks."""
    oracle: str | None = None
    """The reference that knows the task and takes an optimal action in any state, however that was reached: with its
    whole episode ahead, where time matters. None where there is no such reference."""
    mmer_steps: int = 0
    """Steps of training in an epoch, where the field reports MMER, the maximum over epochs of the mean episodic return
    (Morad et al. 2023, POPGym): `metarl evaluate` then does, too. 0 elsewhere."""

    def __init__(self, config: Any, device: torch.device) -> None:
        """By default the configuration is a `Horizon`, and held-out tasks are fresh draws."""
        self.config, self.device, self.horizon = config, device, config.horizon
        self.splits = fresh_splits("uniform over the space of tasks")

    @property
    def name(self) -> str:
        """What errors call the family."""
        return type(self).__name__

    def sample_tasks(self, n: int, generator: Generator, split: str = "train") -> TaskT:
        """Draw `n` tasks of a split. Returns a Task with leading axis [n]; by default uniform over `task_space`."""
        self.check_split(split)
        require(n >= 1, f"The number of tasks must be at least 1, not {n}.")
        return self.task_type(**{name: uniform(space, n, generator) for name, space in self.task_space.items()})

    @abstractmethod
    def reset(self, task: TaskT, num_envs: int, generator: Generator) -> tuple[StateT, Tensor]:
        """Start `num_envs` episodes of each task. Returns the state [N, E] and obs [N, E, O]."""

    @abstractmethod
    def step(self, task: TaskT, state: StateT, action: Tensor, generator: Generator) -> StepResult[StateT]:
        """Advance every lane by one step. `action`: [N, E, A] (or [N, E] when discrete)."""

    def restart(
        self, lanes: Tensor, task: TaskT, state: StateT, obs: Tensor, generator: Generator
    ) -> tuple[StateT, Tensor]:
        """Start the next episode in `lanes` [N, E] bool; the others go on. Returns the state [N, E] and obs [N, E, O].

        Args:
            task: N tasks, in force from now on.
            state, obs: the latest of all lanes.
        """
        begun, seen = self.reset(task, lanes.shape[1], generator)
        return merged(lanes, begun, state), chosen(lanes, seen, obs)

    def any_states(self, task: TaskT, num_envs: int, generator: Generator) -> tuple[StateT, Tensor]:
        """States [N, E] spread over what episodes may visit, and their obs [N, E, O]; by default those of `reset`."""
        return self.reset(task, num_envs, generator)

    def render(self, task: TaskT, episode: StateT, earlier: Sequence[StateT] = (), size: int = 480) -> np.ndarray:
        """Draw one lane as a `uint8 [size, size, 3]` image; by default the numbers of its states over time.

        Args:
            task: one task, without a leading axis.
            episode: the states of the current episode up to now, stacked on a leading time axis; the last is drawn.
            earlier: earlier episodes on the same task, drawn as trails.
        """
        return picture(episode, earlier, size)

    def render_beside(
        self, row: Sequence[StateT], task: TaskT, episode: StateT, earlier: Sequence[StateT], size: int
    ) -> np.ndarray:
        """As `render`, for one picture of a row that shows the whole episodes `row`, up to any of their steps.

        A family whose pictures have axes overrides this so that a row shares them. The default is `render`.
        """
        return self.render(task, episode, earlier, size)

    def references(self) -> dict[str, Reference]:
        """Reference policies by name, against which a learned curve is read. Always holds `random`."""
        return {"random": Reference(self.random_actions)}

    def scores(self, task: TaskT, states: StateT, action: Tensor, reward: Tensor) -> dict[str, Tensor]:
        """What an evaluation reports of episodes beside their return, by name; none by default.

        Args:
            task: N tasks.
            states: [N, H + 1, E, ...], before each of the H steps and after the last.
            action: [N, H, E, A], or [N, H, E] when discrete.
            reward: [N, H, E], 0 once an episode has terminated.

        Returns:
            For each name a float32 tensor [N, E].
        """
        return {}

    def metrics(self) -> dict[str, float]:
        """Counters for a training log, such as simulations that diverged. None by default."""
        return {}

    def random_actions(self, task: TaskT, state: StateT, memory: Any, generator: Generator) -> Tensor:
        """The reference `random`: uniform over the action space. Returns [N, E, A] or [N, E].

        Raises `InputError` where that has no bounds.
        """
        lanes = next(iter(vars(state).values())).shape[:2]
        if isinstance(self.action_space, spaces.Discrete):
            return torch.randint(int(self.action_space.n), lanes, generator=generator, device=self.device)
        if isinstance(self.action_space, spaces.MultiDiscrete):
            sizes = counts(self.action_space)
            columns = [torch.randint(n, lanes, generator=generator, device=self.device) for n in sizes]
            return torch.stack(columns, -1)
        bounded, name = self.action_space.is_bounded(), type(self).__name__
        require(
            bounded, f"{name}.action_space has no bounds to draw from, so references() must provide its own 'random'."
        )
        low, high = (torch.as_tensor(x, device=self.device) for x in (self.action_space.low, self.action_space.high))
        return low + (high - low) * torch.rand(*lanes, *low.shape, generator=generator, device=self.device)

    def check_split(self, split: str) -> None:
        """Raise `InputError` unless `split` is one of this family's."""
        if split not in self.splits:
            raise unknown("split", split, self.splits)

    def task_to_dicts(self, task: TaskT) -> list[dict[str, Any]]:
        """Tasks as plain JSON-able dicts, one for each row."""
        columns = {field.name: _plain(getattr(task, field.name)) for field in dataclasses.fields(task)}  # type: ignore[arg-type]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def task_from_dicts(self, dicts: Sequence[Mapping[str, Any]]) -> TaskT:
        """Tasks from plain dicts. Raises `InputError` when one does not fit `task_space`."""
        require(len(dicts) > 0, "A list of tasks must hold at least one task.")
        rows = [self._check_task(task) for task in dicts]
        return self.task_type(
            **{k: torch.as_tensor(np.stack([r[k] for r in rows]), device=self.device) for k in rows[0]}
        )

    def _check_task(self, task: Mapping[str, Any]) -> dict[str, np.ndarray]:
        if not isinstance(task, Mapping):
            raise InputError(f"A task must be a dict with the fields {', '.join(self.task_space)}, not {task!r}.")
        for name in task:
            if name not in self.task_space.spaces:
                raise unknown("task field", str(name), self.task_space)
        row = {}
        for name, space in self.task_space.items():
            require(name in task, f"The task {reprlib.repr(dict(task))} lacks the field {name!r}, which is {space}.")
            try:
                value = np.asarray(task[name], dtype=space.dtype)
            except (TypeError, ValueError, OverflowError):
                value = None
            whole = value is not None and (value.dtype.kind == "f" or np.array_equal(value, task[name]))
            if value is None or not whole or value.shape != space.shape or not space.contains(value):
                raise InputError(
                    f"The task field {name!r} must lie in {space}, and {reprlib.repr(task[name])} does not."
                )
            row[name] = value
        return row


def _plain(tensor: Tensor) -> list:
    """Nested lists, each float32 as the shortest decimal that stands for it: 0.3, not 0.30000001192092896."""
    array = tensor.cpu().numpy()
    return (array.astype(str).astype(float) if array.dtype == np.float32 else array).tolist()
