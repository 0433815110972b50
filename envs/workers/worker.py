"""A worker process: its share of the lanes, stepped one after another over shared memory.

The parent runs this file as a program, so it imports neither torch nor the rest of this package. Requests and replies
go through a pipe; numbers through memory that all processes map.
"""

from __future__ import annotations

import mmap
import os
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from gymnasium import Env, spaces
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit


@dataclass(frozen=True)
class Program:
    """What a worker is made from."""

    make: Callable[[], Env]
    apply: Callable[[Env, Any], Any] | None  # None: the environment's own set_task or reset_task
    tasks: Sequence[Any] | None  # where a lane's task is an index of these
    horizon: int
    observation_space: spaces.Space
    action_space: spaces.Space
    scores: Mapping[str, Callable[[dict], float]] = field(default_factory=dict)  # of the info of a step


class Failure(Exception):
    """What went wrong in a lane: `lane` is None where it was in none."""

    def __init__(self, lane: int | None, what: str) -> None:
        super().__init__(lane, what)
        self.lane, self.what = lane, what


class SharedArrays:
    """Arrays of L lanes over one block of shared memory.

    Attributes:
        obs: [L, ...].  reward: [L] float32.  scores: [L, K] float32.  terminated, starting: [L] bool.  seed: [L] int64.
        action: [L] int64 or [L, A] float32.
        at: [W] int64, the lane that each worker is busy with.
    """

    def __init__(self, file: Any, lanes: int, workers: int, obs: tuple, action: tuple, scores: int) -> None:
        layout = {
            "obs": ((lanes, *obs[0]), obs[1]),
            "action": ((lanes, *action[0]), action[1]),
            "reward": ((lanes,), "float32"),
            "scores": ((lanes, scores), "float32"),
            "seed": ((lanes,), "int64"),
            "terminated": ((lanes,), "bool"),
            "starting": ((lanes,), "bool"),
            "at": ((workers,), "int64"),
        }
        sizes = [int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in layout.values()]
        starts = np.cumsum([0, *(-(-size // 64) * 64 for size in sizes)]).tolist()
        if file.seek(0, 2) < starts[-1]:
            file.truncate(starts[-1])
        self.block = mmap.mmap(file.fileno(), starts[-1])
        for (name, (shape, dtype)), start in zip(layout.items(), starts, strict=False):
            array = np.frombuffer(self.block, dtype, int(np.prod(shape)), start).reshape(shape)
            setattr(self, name, array)

    obs: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    scores: np.ndarray
    seed: np.ndarray
    terminated: np.ndarray
    starting: np.ndarray
    at: np.ndarray


@contextmanager
def quiet() -> Iterator[None]:
    """Within this context nothing is printed on standard error, such as MuJoCo's warnings about a model, once a lane.

    The parent has made an environment before and shown them.
    """
    kept = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def set_task(env: Env, task: Any) -> None:
    """Set a task by the environment's own method."""
    env.get_wrapper_attr("set_task" if env.has_wrapper_attr("set_task") else "reset_task")(task)


def take(space: spaces.Space, actions: np.ndarray) -> list[Any]:
    """The actions of a family [L] or [L, A] as environments with this action space take them, within its bounds."""
    if isinstance(space, spaces.Discrete):
        return list(actions + space.start)  # numpy's numbers, as `sample` returns: an int takes `contains` longer
    if isinstance(space, spaces.MultiDiscrete):
        return list(actions.reshape(len(actions), *space.shape) + space.start)
    assert isinstance(space, spaces.Box)
    return list(np.clip(actions.reshape(len(actions), *space.shape), space.low, space.high).astype(space.dtype))


def stepper(env: Env, horizon: int) -> Callable[[Any], Any]:
    """The method by which an environment is stepped after a reset, past the wrappers of `gymnasium.make`.

    What these do is done here: the order of calls is right, results are checked, and no episode is longer.
    """
    while isinstance(env, OrderEnforcing | PassiveEnvChecker) or (
        isinstance(env, TimeLimit) and env._max_episode_steps >= horizon
    ):
        env = env.env
    return env.step


def said(error: BaseException) -> str:
    """An error in words: its class and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def check_spaces(env: Env, program: Program) -> None:
    """Raise `ValueError` unless an environment has the spaces of the family."""
    for name in ("observation_space", "action_space"):
        found, right = getattr(env, name), getattr(program, name)
        if found is not right and found != right:
            raise ValueError(f"its {name} is {found}, and that of the family is {right}: spaces cannot differ by task")


class Share:
    """The lanes of one worker: environments, and how far their episodes are."""

    def __init__(self, program: Program, number: int) -> None:
        self.program, self.number = program, number
        self.envs: list[Env] = []
        self.steps: dict[int, Callable[[Any], Any]] = {}  # of the lanes
        self.spaces: dict[int, tuple[Any, Any]] = {}  # of the lanes, those of the family
        self.memory: Any = None
        self.start = self.stop = 0
        observed = program.observation_space
        self.plain = isinstance(observed, spaces.Box)  # else it is flattened
        self.shape: Any = observed.shape
        self.dtype: Any = observed.dtype
        flat: Any = observed if self.plain else spaces.flatten_space(observed)
        self.low, self.high = (np.asarray(x).reshape(-1).astype(np.float32) for x in (flat.low, flat.high))
        self.bounded = bool(np.isfinite(self.low).any() or np.isfinite(self.high).any())
        if self.dtype == np.uint8 and self.plain:  # all numbers lie in the widest bounds
            self.bounded = bool((self.low > 0).any() or (self.high < 255).any())
        self.t = np.zeros(0, int)

    def attach(self, path: str, lanes: int, *layout: Any) -> None:
        with open(path, "r+b") as file:
            self.memory = SharedArrays(file, lanes, *layout)
        self.t = np.zeros(lanes, int)

    def begin(self, start: int, stop: int, rows: Sequence[int], tasks: Sequence[Any]) -> None:
        """Start an episode in each of the lanes `start` .. `stop` that the memory marks; lane i has task `rows[i]`."""
        memory, program = self.memory, self.program
        self.start, self.stop = start, stop
        for lane in range(start, stop):
            if not memory.starting[lane]:
                continue
            memory.at[self.number] = lane
            task, doing = tasks[rows[lane - start]], "make()"
            try:
                with quiet() if len(self.envs) <= lane - start else nullcontext():
                    while len(self.envs) <= lane - start:
                        self.envs.append(program.make())
                env, doing = self.envs[lane - start], "apply()"
                (program.apply or set_task)(env, task if program.tasks is None else program.tasks[task])
                doing = "reset()"
                returned = env.reset(seed=int(memory.seed[lane]))
                found = env.observation_space, env.action_space
                if self.spaces.get(lane) != found:  # fast where they are the same objects as before
                    check_spaces(env, program)
                    self.spaces[lane] = found
                self.steps[lane] = stepper(env, program.horizon)
            except Exception as error:
                raise Failure(lane, f"{doing} raised {said(error)}") from error
            if not isinstance(returned, tuple) or len(returned) != 2:
                raise Failure(lane, "reset() did not return (obs, info)")
            self.observe(lane, "reset()", returned[0])
            memory.terminated[lane], memory.reward[lane], memory.scores[lane], self.t[lane] = False, 0.0, 0.0, 0
        self.check("reset()")

    def step(self) -> None:
        """Take the memory's action in each lane whose episode runs."""
        memory, plain, shape, horizon = self.memory, self.plain, self.shape, self.program.horizon
        reward, ended, obs, at = memory.reward, memory.terminated, memory.obs, memory.at
        actions = take(self.program.action_space, memory.action[self.start : self.stop])
        done, t = ended[self.start : self.stop].tolist(), self.t
        t[self.start : self.stop] += 1
        scored = bool(self.program.scores)
        for lane, action, over in zip(range(self.start, self.stop), actions, done, strict=True):
            if over:
                reward[lane] = 0.0
                continue
            at[self.number] = lane
            try:
                seen, earned, terminated, truncated, info = self.steps[lane](action)
            except Exception as error:
                raise Failure(lane, f"step() raised {said(error)}") from error
            if plain and type(seen) is np.ndarray and seen.shape == shape and seen.dtype == self.dtype:
                obs[lane] = seen if obs.ndim == seen.ndim + 1 else seen.reshape(-1)
            else:
                self.observe(lane, "step()", seen)
            try:
                reward[lane] = float(earned)
            except (TypeError, ValueError):
                raise Failure(lane, f"step() returned {kind(earned)} as reward, not a number") from None
            if scored:
                self.score(lane, info)
            ended[lane] = terminated
            if truncated and not terminated and t[lane] < horizon:
                raise Failure(
                    lane,
                    f"step() truncated an episode after {t[lane]} steps, before the horizon of {horizon}: choose a "
                    "shorter horizon, or report such an end as terminated",
                )
        self.check("step()")

    def score(self, lane: int, info: dict[str, Any]) -> None:
        """Keep the scores of a step. Raises `Failure` where a function raises or returns no number."""
        for k, (name, function) in enumerate(self.program.scores.items()):
            try:
                self.memory.scores[lane, k] = function(info)
            except Exception as error:
                raise Failure(
                    lane, f"step() returned an info of which the score {name!r} raised {said(error)}"
                ) from error

    def observe(self, lane: int, method: str, seen: Any) -> None:
        """Keep an observation. Raises `Failure` where its shape or dtype is not that of the space."""
        space: Any = self.program.observation_space
        if self.plain:
            array = seen if isinstance(seen, np.ndarray) else None
            fits = array is not None and array.shape == self.shape and np.can_cast(array.dtype, self.dtype)
        else:
            try:
                fits = bool(space.contains(seen))
            except Exception:  # of spaces that index what they are given
                fits = False
        if not fits:
            raise Failure(
                lane, f"{method} returned {kind(seen)} as obs, which is not in its observation_space, {space}"
            )
        if self.memory.obs.dtype == np.int64:
            flat = np.asarray(seen) - space.start
        else:
            flat = np.asarray(seen if self.plain else spaces.flatten(space, seen))
        self.memory.obs[lane] = flat.reshape(self.memory.obs.shape[1:])

    def check(self, method: str) -> None:
        """Raise `Failure` for observations and rewards that are not finite, and for observations out of bounds."""
        memory, share = self.memory, slice(self.start, self.stop)
        if self.start == self.stop:
            return
        obs = memory.obs[share].reshape(self.stop - self.start, -1)
        for name, values in (("obs", obs), ("reward", memory.reward[share, None]), ("score", memory.scores[share])):
            if not np.isfinite(values).all():
                lane, i = (int(x) for x in np.argwhere(~np.isfinite(values))[0])
                after = f"after {self.t[self.start + lane]} steps"
                words = f"{method} returned {values[lane, i]} as {name} {after}, which is not finite"
                raise Failure(self.start + lane, words)
        if self.plain and self.bounded:
            out = (obs < self.low) | (obs > self.high)
            if out.any():
                lane, i = (int(x) for x in np.argwhere(out)[0])
                raise Failure(
                    self.start + lane,
                    f"{method} returned {obs[lane, i]:g} as number {i} of obs, which lies in "
                    f"[{self.low[i]:g}, {self.high[i]:g}] by its observation_space",
                )


def kind(x: Any) -> str:
    """A value in a few words."""
    if isinstance(x, np.ndarray):
        return f"an array {x.dtype} {list(x.shape)}"
    return repr(x) if x is None or isinstance(x, bool | int | float) else f"a {type(x).__name__}"


def serve(connection: Connection) -> None:
    """Answer requests until the parent closes the pipe: None where all went well, else a Failure."""
    warnings.simplefilter("ignore")  # the parent's own environment has warned already
    share: Any = None
    while True:
        try:
            name, *arguments = connection.recv()
        except (EOFError, OSError):
            break
        reply = None
        try:
            if name == "program":
                path, number, content = arguments
                sys.path[:] = path
                share = Share(Program(*pickle.loads(content)), number)
            else:
                getattr(share, name)(*arguments)
        except Failure as failure:
            reply = (failure.lane, failure.what)
        except Exception as error:
            reply = (None, said(error))
        try:
            connection.send_bytes(pickle.dumps(reply))  # as `send` does, which takes longer
        except OSError:  # nobody waits for it any more
            break
    for env in share.envs if share else ():
        with suppress(Exception):
            env.close()


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
