"""What all robots share: observations, starts, falls, divergence, and rewards by their formulas."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from robots import FAMILIES, PARAMS, generator, walk

import envs
from envs.locomotion.robot import Robot
from envs.physics.base import PhysicsState


def rewards(family: str, task: dict, v: np.ndarray, xy: np.ndarray, a: np.ndarray, contact: np.ndarray) -> np.ndarray:
    """The reward in numpy: of velocities [E, 2], positions [E, 2], actions [E, A], squared contact forces [E]."""
    control = (a**2).sum(-1)
    match family:
        case "half-cheetah-vel":
            return -abs(v[:, 0] - task["goal_velocity"]) - 0.05 * control
        case "half-cheetah-dir":
            return task["direction"] * v[:, 0] - 0.05 * control
        case "ant-vel":
            return 1 - abs(v[:, 0] - task["goal_velocity"]) - 0.005 * control - 0.0005 * contact + 0.05
        case "ant-dir":
            along = math.cos(task["angle"]) * v[:, 0] + math.sin(task["angle"]) * v[:, 1]
            return along - 0.5 * control - 0.0005 * contact + 1
        case "ant-goal":
            return -abs(xy - np.array(task["goal"])).sum(-1) - 0.1 * control - 0.0005 * contact
        case _:
            return v[:, 0] + 1 - 0.001 * control


def fallen(env: Robot, z: float, angle: float = 0.0, speed: float = 0.0) -> bool:
    """Has a robot fallen at this height (m), lean (rad) and speed of the last joint (rad/s)?"""
    m = env.physics.model
    state = PhysicsState(*(torch.zeros(1, 1, n, dtype=torch.float64) for n in (m.nq, m.nv, m.nv)))
    state.qpos[..., 1 if env.planar else 2] = z
    if env.planar:
        state.qpos[..., 2] = angle
    state.qvel[..., -1] = speed
    return env.fallen(state).item()


@pytest.mark.parametrize("family", FAMILIES)
def test_rewards_follow_the_formula(family):
    env = envs.make(family, "pearl" if family == "ant-dir" else None)
    task = env.sample_tasks(4, generator())
    state = walk(env, task)
    action = 1.5 * torch.randn(4, 2, env.action_space.shape[0], generator=generator(2))
    result = env.step(task, state, action, generator())
    clipped = action.clamp(-1, 1)
    forces = env.physics.step(state, clipped, env.scales(task)).contact_force  # checked in physics/test_cpu.py
    contact = np.zeros((4, 2)) if forces is None else (forces[:, :, 1:].numpy().clip(-1, 1) ** 2).sum((2, 3))
    assert (contact.max() > 1) == family.startswith("ant")
    dt = 0.008 if family in PARAMS else 0.05
    for i, row in enumerate(env.task_to_dicts(task)):
        before, after = state.qpos[i, :, :2].numpy(), result.state.qpos[i, :, :2].numpy()
        expected = rewards(family, row, (after - before) / dt, after, clipped[i].numpy(), contact[i])
        assert result.reward[i].numpy() == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in PARAMS])
def test_observations_do_not_tell_the_goal(family):
    env = envs.make(family)
    task = env.sample_tasks(12, generator())
    seen = []
    for i in (0, next(i for i in range(12) if env.task_to_dicts(task)[i] != env.task_to_dicts(task)[0])):
        draws, one = generator(3), task[i : i + 1]
        state, obs = env.reset(one, 2, draws)
        rows, earned = [obs], []
        for _ in range(20):
            result = env.step(one, state, env.random_actions(one, state, None, draws), draws)
            state = result.state
            rows.append(result.obs)
            earned.append(result.reward)
        seen.append((torch.stack(rows), torch.stack(earned)))
    assert torch.equal(seen[0][0], seen[1][0]) and not torch.equal(seen[0][1], seen[1][1])


@pytest.mark.parametrize(
    ("family", "hidden", "size"),
    [
        ("half-cheetah-vel", 1, 17),
        ("ant-vel", 2, 27),
        ("ant-dir", 2, 27),
        ("ant-goal", 0, 29),
        ("walker2d-params", 1, 17),
        ("hopper-params", 1, 11),
    ],
)
def test_observations_are_positions_but_the_hidden_ones_and_velocities(family, hidden, size):
    env = envs.make(family)
    task = env.sample_tasks(2, generator())
    state = walk(env, task, steps=2)
    assert env.observation_space.shape == (size,)
    assert torch.equal(env.observe(state), torch.cat([state.qpos[..., hidden:], state.qvel], -1).float())


@pytest.mark.parametrize(
    ("family", "noise", "gaussian"),
    [("half-cheetah-vel", 0.1, True), ("ant-goal", 0.1, True), ("walker2d-params", 0.005, False)],
)
def test_episodes_start_near_the_models_initial_state(family, noise, gaussian):
    env = envs.make(family)
    state, obs = env.reset(env.sample_tasks(20, generator()), 50, generator(1))
    offset = state.qpos - env.start
    assert offset.abs().max() <= noise and offset.std().item() == pytest.approx(noise / math.sqrt(3), rel=0.05)
    assert state.qvel.std().item() == pytest.approx(noise if gaussian else noise / math.sqrt(3), rel=0.05)
    assert (state.qvel.abs().max() > 2 * noise) == gaussian
    assert not state.warmstart.any() and torch.equal(obs, env.observe(state))


@pytest.mark.parametrize(
    ("family", "stands", "falls"),
    [
        ("ant-vel", [(0.2,), (0.6,), (1.0,)], [(0.19,), (1.01,), (-1.0,)]),
        ("ant-dir", [(0.2,), (0.6,), (1.0,)], [(0.19,), (1.01,)]),
        ("ant-goal", [(0.2,), (0.0,), (5.0,)], []),
        ("half-cheetah-vel", [(-1.0, 9.0, 999.0)], []),
        ("walker2d-params", [(0.81, 0.99), (1.99, -0.99, 999.0)], [(0.79,), (2.01,), (1.2, 1.01), (1.2, -1.01)]),
        (
            "hopper-params",
            [(0.71, 0.19, 99.0), (9.0, -0.19, -99.0)],
            [(0.69,), (1.2, 0.21), (1.2, -0.21), (1.2, 0.0, 101.0), (1.2, 0.0, -101.0)],
        ),
    ],
)
def test_episodes_terminate_in_a_fall(family, stands, falls):
    env = envs.make(family)
    assert not any(fallen(env, *where) for where in stands)
    assert all(fallen(env, *where) for where in falls)


@pytest.mark.parametrize(
    ("family", "fields", "said"),
    [
        ("half-cheetah-vel", {"control_cost": -1.0}, "control_cost"),
        ("half-cheetah-vel", {"max_velocity": 0.0}, "max_velocity"),
        ("half-cheetah-dir", {"horizon": 0}, "horizon"),
        ("ant-vel", {"max_velocity": math.nan}, "max_velocity"),
        ("ant-vel", {"contact_cost": math.inf}, "contact_cost"),
        ("ant-dir", {"directions": "three"}, "directions"),
        ("ant-dir", {"survive_bonus": math.inf}, "survive_bonus"),
        ("ant-goal", {"goal_radius": -3.0}, "goal_radius"),
        ("hopper-params", {"max_exponent": 11.0}, "max_exponent"),
        ("walker2d-params", {"survive_bonus": math.nan}, "survive_bonus"),
    ],
)
def test_an_impossible_parameter_is_answered_in_one_sentence(family, fields, said, sentence):
    with pytest.raises(envs.InputError) as caught:
        envs.make(family, **fields)
    assert said in sentence(caught)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("family", ["half-cheetah-vel", "ant-vel", "hopper-params"])
def test_a_simulation_that_diverges_is_put_back_and_counted_and_others_go_on(family):
    env = envs.make(family)
    task = env.sample_tasks(2, generator())
    state = walk(env, task, 3)
    broken = state.map(torch.clone)
    broken.qvel[1, 2, 0] = math.nan
    broken.qpos[1, 0, -1] = math.inf
    action = env.random_actions(task, state, None, generator())
    well, ill = (env.step(task, start, action, generator()) for start in (state, broken))
    rows = [(1, 2), (1, 0)]
    others = torch.ones(2, 3, dtype=torch.bool)
    for row in rows:
        others[row] = False
        assert torch.equal(ill.state.qpos[row], env.start) and not ill.state.qvel[row].any()
        assert ill.obs[row].isfinite().all() and ill.reward[row].isfinite()
    for name in ("obs", "reward", "terminated"):
        assert torch.equal(getattr(ill, name)[others], getattr(well, name)[others])
    assert env.num_diverged.item() == 2 and env.metrics() == {"diverged": 2.0}
    again = env.step(task, ill.state, action, generator())
    assert again.obs.isfinite().all() and env.metrics() == {"diverged": 2.0}
    with pytest.warns(UserWarning, match=r"2 simulations of .* became non-finite .*\(2 so far\)"):
        env.reset(task, 3, generator())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env.reset(task, 3, generator())


def test_a_jump_back_to_the_start_is_no_velocity():
    env = envs.make("half-cheetah-vel")
    task = env.task_from_dicts([{"goal_velocity": 0.0}])
    state, _ = env.reset(task, 1, generator())
    state.qpos[..., 0] = 50.0
    state.qvel[..., 3] = math.nan
    assert env.step(task, state, torch.zeros(1, 1, 6), generator()).reward.item() == 0.0
