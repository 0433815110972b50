"""MuJoCo's C engine under the families: parameters of its own for each task, divergence, threads, what is missing."""

import math
import sys
import warnings

import mujoco
import numpy as np
import pytest
import torch
from torch import Generator

import envs
from envs.locomotion.robot import Robot
from envs.physics.base import PhysicsState
from envs.physics.engines import make_physics
from envs.physics.model import load_model

PARAMS = {"walker2d-params": "walker2d", "hopper-params": "hopper"}


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def walk(env: Robot, task, num_envs: int = 2, steps: int = 20, seed: int = 1) -> PhysicsState:
    """The states after so many steps of random actions."""
    draws = generator(seed)
    state, _ = env.reset(task, num_envs, draws)
    for _ in range(steps):
        state = env.step(task, state, env.random_actions(task, state, None, draws), draws).state
    return state


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

    def test_other_tensors_are_bound_anew(self, family):
        env = envs.make(family)
        first, second = env.sample_tasks(2, generator()), env.sample_tasks(2, generator(1))
        state = walk(env, first)
        action = env.random_actions(first, state, None, generator())

        def step(task):
            return env.step(task, state, action, generator()).state.qpos

        expected = [step(first), step(second)]
        assert not torch.equal(*expected)
        assert torch.equal(step(first), expected[0]) and torch.equal(step(second), expected[1])
        for a, b in zip(vars(second).values(), vars(first).values(), strict=True):
            a.copy_(b)
        assert torch.equal(step(second), expected[0]), "also when the same tensors hold other numbers"
        unscaled = env.physics.step(state, action).state.qpos
        assert not torch.equal(unscaled, expected[0]), "and without any the model is itself again"
        assert torch.equal(unscaled, envs.make(family).physics.step(state, action).state.qpos)


# --- Engines -------------------------------------------------------------------------------------------------------


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


def test_results_do_not_depend_on_the_number_of_threads():
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            env = envs.make("ant-goal")
            state = walk(env, env.sample_tasks(4, generator()), 3, steps=30)
        finally:
            torch.set_num_threads(1)
        results.append(state)
    assert all(torch.equal(a, b) for a, b in zip(*(vars(state).values() for state in results), strict=True))


def refusal(call, sentence) -> str:
    with pytest.raises(envs.InputError) as caught:
        call()
    return sentence(caught)


def test_an_engine_that_does_not_fit_is_refused(sentence):
    on_cuda = refusal(lambda: make_physics("half_cheetah", 5, "mujoco", torch.device("cuda")), sentence)
    assert on_cuda.startswith("Engine 'mujoco' computes on the CPU; use --device cpu with it")
    unknown = refusal(lambda: envs.make("ant-vel", engine="mujco"), sentence)
    assert unknown.startswith("Unknown engine 'mujco'. Did you mean 'mujoco'?")


def test_a_missing_mujoco_is_said(monkeypatch, sentence):
    env = envs.make("ant-vel")
    task = env.sample_tasks(1, generator())
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "mujoco.batch", None)
        said = refusal(lambda: walk(env, task), sentence)
        assert said.startswith(f"MuJoCo {mujoco.__version__} has no mujoco.batch; install 3.17 or newer")
    monkeypatch.setitem(sys.modules, "mujoco", None)
    assert refusal(lambda: envs.make("ant-vel"), sentence).startswith("MuJoCo is missing here")
