"""Hidden bodies: their law, and motions against plain MuJoCo."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest
import torch
from robots import PARAMS, generator, walk

import envs
from envs.physics.base import PhysicsState
from envs.physics.model import load_model


def plain_step(name: str, factors: dict, state: PhysicsState, action: np.ndarray) -> mujoco.MjData:
    """One step of a plain MuJoCo model whose fields were multiplied, from the state of one lane."""
    model = load_model(name)
    for field, factor in factors.items():
        getattr(model, field)[:] *= np.asarray(factor, np.float32)
    data = mujoco.MjData(model)
    mujoco.mj_setConst(model, data)
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:], data.qacc_warmstart[:], data.ctrl[:] = state.qpos, state.qvel, state.warmstart, action
    mujoco.mj_step(model, data, nstep=4)
    return data


class TestLawsOfTasks:
    """Splits lie where their sentences say."""

    def draw(self, family, split, preset=None, **fields):
        return envs.make(family, preset, **fields).sample_tasks(20_000, generator(5), split)

    @pytest.mark.parametrize("family", PARAMS)
    def test_factors_have_uniform_exponents(self, family):
        shapes = {"body_mass": "nbody", "body_inertia": "nbody", "geom_friction": "ngeom", "dof_damping": "nv"}
        model = load_model(PARAMS[family])
        for split in ("train", "validation", "test", "ood"):
            task = envs.make(family).sample_tasks(500, generator(5), split)
            for name, size in shapes.items():
                factor = getattr(task, name)
                assert factor.shape[1] == getattr(model, size) and factor.shape[1:] == getattr(model, name).shape
                u = factor.double().log() / math.log(1.3 if name == "dof_damping" else 1.5)
                low, high = (3, 4) if split == "ood" else (0, 3)
                assert u.abs().min() >= low - 1e-5 and u.abs().max() <= high + 1e-5
                assert u.mean().item() == pytest.approx(0, abs=0.3)
                assert u.abs().mean().item() == pytest.approx((low + high) / 2, abs=0.06)
                assert factor.flatten(1).std(1).min() > 0, "each element has a factor of its own"


@pytest.mark.parametrize("family", PARAMS)
class TestHiddenBodies:
    def test_a_step_is_that_of_a_model_with_the_fields_multiplied(self, family):
        env = envs.make(family)
        task = env.sample_tasks(3, generator())
        state = walk(env, task, steps=40)
        action = env.random_actions(task, state, None, generator(7))
        result = env.step(task, state, action, generator())
        for i, row in enumerate(env.task_to_dicts(task)):
            for j in range(2):
                data = plain_step(PARAMS[family], row, state[i, j], action[i, j].numpy())
                np.testing.assert_array_equal(result.state.qpos[i, j], data.qpos)
                np.testing.assert_array_equal(result.state.qvel[i, j], data.qvel)

    @pytest.mark.parametrize("field", ["body_mass", "body_inertia", "geom_friction", "dof_damping"])
    def test_every_field_changes_the_motion(self, family, field):
        env = envs.make(family)
        shapes = {name: space.shape for name, space in env.task_space.items()}
        task = env.task_from_dicts([{k: np.ones(s) * (3.0 if k == field else 1.0) for k, s in shapes.items()}])
        same = env.task_from_dicts([{name: np.ones(shape) for name, shape in shapes.items()}])
        assert not torch.equal(walk(env, task, steps=50).qpos, walk(env, same, steps=50).qpos)

    def test_a_task_in_a_batch_moves_as_it_would_alone(self, family):
        env = envs.make(family)
        task, draws = env.sample_tasks(3, generator()), generator(4)
        state, _ = env.reset(task, 2, draws)
        alone = [state[i : i + 1, 1:2] for i in range(3)]
        single = [envs.make(family) for _ in range(3)]
        for _ in range(30):
            action = env.random_actions(task, state, None, draws)
            state = env.step(task, state, action, draws).state
            for i in range(3):
                result = single[i].step(task[i : i + 1], alone[i], action[i : i + 1, 1:2], draws)
                alone[i] = result.state
                assert all(
                    torch.equal(x[i, 1], y[0, 0])
                    for x, y in zip(vars(state).values(), vars(alone[i]).values(), strict=True)
                )


def test_a_walker_that_rests_falls():
    env = envs.make("walker2d-params")
    task = env.sample_tasks(1, generator())
    state, _ = env.reset(task, 1, generator())
    ends = []
    for _ in range(200):
        result = env.step(task, state, env.stand_still(task, state, None, generator()), generator())
        state = result.state
        ends.append(result.terminated.item())
    assert not ends[0] and any(ends)
