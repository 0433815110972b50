"""check, check_env: try a family of your own against the contract of `Env`."""

from __future__ import annotations

import json

import torch
from torch import Tensor

from envs.contract import (
    all_metrics,
    all_references,
    check_action,
    check_description,
    check_image,
    check_reset,
    check_step,
    draw_tasks,
    family_name,
    task_dicts,
)
from envs.core import Env, Reference, Transition, task_generator
from envs.errors import InputError, require
from envs.registry import family, make
from envs.structs import Struct


def check(id: str) -> None:
    """`check_env` of a registered family under each of its presets, such as in the tests of your own.

    Raises:
        InputError: at the first thing that is wrong.
        EnvironmentFault: when an environment of Gymnasium raises.
    """
    for preset in family(id).presets:
        check_env(make(id, preset))


def check_env(
    env: Env, num_tasks: int = 3, num_envs: int = 2, num_steps: int = 10, seed: int = 0, images: bool = True
) -> None:
    """Play a few steps of each reference, and raise `InputError` at the first thing that breaks the contract of `Env`.

    Beyond the shapes, dtypes and devices that every rollout checks: a generator fixes the tasks and episodes, tasks lie
    in `task_space` and survive JSON, numbers are finite, a step changes nothing that goes in, lanes do not depend on
    what others do, and images (if `images`) can be drawn.
    """
    check_description(env)
    all_metrics(env)
    for split in env.splits:
        _check_tasks(env, num_tasks, seed, split)
    known = env.oracle in {None, *all_references(env)}
    require(known, f"{family_name(env)}.oracle must name one of its references, and {env.oracle!r} is none.")
    for name, reference in all_references(env).items():
        episode = _play(env, name, reference, num_tasks, num_envs, num_steps, seed)
    _check_lanes(env, num_tasks, num_envs, num_steps, seed)
    if not images:
        return
    task = draw_tasks(env, num_tasks, task_generator(seed, "train", env.device))
    check_image(env, env.render(task[0], episode, [episode]))
    check_image(env, env.render(task[0], episode, size=96), 96)


def _check_tasks(env: Env, num_tasks: int, seed: int, split: str) -> None:
    where = f"{family_name(env)}.sample_tasks({num_tasks}, split={split!r})"
    task, again = (draw_tasks(env, num_tasks, task_generator(seed, split, env.device), split) for _ in range(2))
    require(_same(task, again), f"{where} must draw the same tasks from the same generator, but drew different ones.")
    rows = task_dicts(env, task)
    try:
        text = json.dumps(rows)
    except TypeError as error:
        raise InputError(f"{family_name(env)}.task_to_dicts() must return what JSON can hold: {error}.") from None
    restored = env.task_from_dicts(json.loads(text))
    require(_same(task, restored), f"{where} returned tasks that do not survive task_to_dicts() and task_from_dicts().")


def _play(
    env: Env, name: str, reference: Reference, num_tasks: int, num_envs: int, num_steps: int, seed: int
) -> Struct:
    """Steps under a reference. Returns the states of the first lane, from the start on."""
    generator = task_generator(seed, "train", env.device)
    task = draw_tasks(env, num_tasks, generator)
    lanes = num_tasks, num_envs
    state, obs = check_reset(env, env.reset(task, num_envs, generator), *lanes)
    _check_finite(env, "reset", "obs", obs)
    memory, seen = reference.start(task, num_envs, generator), [state]
    for _ in range(min(num_steps, env.horizon)):
        action = reference.act(task, state, memory, generator)
        check_action(env, action, *lanes, f"The reference {name!r}")
        before = task.map(Tensor.clone), state.map(Tensor.clone)
        result = env.step(task, state, action, generator)
        check_step(env, result, state, *lanes)
        for field in ("obs", "reward"):
            _check_finite(env, "step", field, getattr(result, field))
        for kind, old, new in zip(("task", "state"), before, (task, state), strict=True):
            require(_same(old, new), f"{family_name(env)}.step() must not change the {kind} passed to it.")
        transition = Transition(state, action, result.reward, result.state, result.terminated)
        memory, state = reference.observe(task, memory, transition), result.state
        seen.append(state)
    return type(state).stack(seen)[:, 0, 0]


def _check_lanes(env: Env, num_tasks: int, num_envs: int, num_steps: int, seed: int) -> None:
    """Raise `InputError` unless episodes repeat themselves, whatever other actions the last lane takes."""
    generator = task_generator(seed, "train", env.device)
    task, random = draw_tasks(env, num_tasks, generator), all_references(env)["random"]

    def play(last: float) -> list[Tensor]:
        chance = task_generator(seed, "episodes", env.device)
        actions = task_generator(seed, "actions", env.device)
        state, obs = env.reset(task, num_envs, chance)
        memory, seen = random.start(task, num_envs, actions), [obs]
        for _ in range(min(num_steps, env.horizon)):
            action = random.act(task, state, memory, actions)
            action[-1, -1] = (action[-1, -1] * last).to(action.dtype)
            result = env.step(task, state, action, chance)
            state = result.state
            seen += [result.obs, result.reward.unsqueeze(-1), result.terminated.unsqueeze(-1)]
        return [x.flatten(0, 1) for x in seen]

    once, again, other = play(1.0), play(1.0), play(0.0)
    name = env.name
    same = all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    require(same, f"{name} must play the same episodes from the same generator and actions, but played different ones.")
    apart = all(torch.equal(a[:-1], b[:-1]) for a, b in zip(once, other, strict=True))
    require(apart, f"{name} must keep its episodes apart, but one changed with the actions of another.")


def _check_finite(env: Env, method: str, field: str, x: Tensor) -> None:
    finite = bool(x.isfinite().all())
    require(finite, f"{family_name(env)}.{method}() must return finite numbers as {field}, and some are not.")


def _same(a: Struct, b: Struct) -> bool:
    """Are all tensors equal?"""
    equal = []

    def compare(pair: list[Tensor]) -> Tensor:
        equal.append(pair[0].shape == pair[1].shape and bool(((pair[0] == pair[1]) | (pair[0] != pair[0])).all()))
        return pair[0]

    type(a).zip_map(compare, [a, b])
    return all(equal)
