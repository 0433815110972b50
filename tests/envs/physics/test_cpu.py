"""MuJoCo's C engine: the motions of Gymnasium to the last bit, bodies bound for each task, threads."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch
from robots import PARAMS, actions, generator, gym_env, state_of, walk

import envs
from envs.physics.base import Physics, PhysicsState
from envs.physics.engines import make_physics
from envs.physics.model import MODELS, load_model


def physics(name: str, contact_forces: bool = False) -> Physics:
    return make_physics(
        name, 5 if name in ("ant", "half_cheetah") else 4, "mujoco", torch.device("cpu"), contact_forces
    )


def equals(state: PhysicsState, data: mujoco.MjData) -> bool:
    return all(torch.equal(a, b) for a, b in zip(vars(state).values(), vars(state_of(data)).values(), strict=True))


@pytest.mark.parametrize("name", ["half_cheetah", "walker2d", "hopper"])
def test_gymnasiums_motions_are_repeated_bit_for_bit(name):
    theirs, engine = gym_env(name), physics(name)
    data = theirs.unwrapped.data
    state = state_of(data)
    for action in actions(engine.model, 200):
        theirs.step(action[0, 0].numpy())
        state = engine.step(state, action).state
        assert equals(state, data)


class TestAnt:
    def test_gymnasium_on_our_model_moves_as_we_do(self):
        theirs, engine = gym_env("ant", xml_file=str(MODELS / "ant.xml")), physics("ant")
        state = state_of(theirs.unwrapped.data)
        for action in actions(engine.model, 200):
            theirs.step(action[0, 0].numpy())
            state = engine.step(state, action).state
            assert equals(state, theirs.unwrapped.data)

    def test_motions_and_forces_are_those_of_plain_mujoco(self):
        engine, model = physics("ant", contact_forces=True), load_model("ant")
        data, before = mujoco.MjData(model), mujoco.MjData(model)
        state = state_of(data)
        touched = 0
        for action in actions(model, 100):
            data.ctrl[:] = action[0, 0]
            for _ in range(5):
                mujoco.mj_copyData(before, model, data)
                mujoco.mj_step(model, data)
            # The forces are those at the start of the last substep, whatever sensors there are.
            mujoco.mj_forward(model, before)
            mujoco.mj_rnePostConstraint(model, before)
            result = engine.step(state, action)
            assert equals(result.state, data)
            np.testing.assert_array_equal(result.contact_force[0, 0], before.cfrc_ext)
            assert (result.contact_force[0, 0, 0] == 0).all(), "nothing acts on the world"
            touched += bool((result.contact_force.abs() > 1).any())
            state = result.state
        assert touched > 20

    def test_contact_costs_are_about_gymnasiums(self):
        """It takes forces one substep later, at the end of the step; so costs differ while feet land and lift."""
        theirs, engine = gym_env("ant", xml_file=str(MODELS / "ant.xml")), physics("ant", contact_forces=True)
        costs = []
        for action in actions(engine.model, 200):
            force = engine.step(state_of(theirs.unwrapped.data), action).contact_force
            *_, info = theirs.step(action[0, 0].numpy())
            costs.append((5e-4 * force.clamp(-1, 1).square().sum().item(), -info["reward_contact"]))
        ours, gym = np.array(costs).T
        assert np.mean(np.isclose(ours, gym, atol=1e-9)) > 0.3
        assert ours.mean() == pytest.approx(gym.mean(), rel=0.25) and gym.mean() > 5e-4

    @pytest.mark.parametrize(("steps", "typical", "most"), [(10, 0.08, 0.21), (50, 1.3, 2.4)])
    def test_the_cone_parts_motions_from_gymnasiums(self, steps, typical, most):
        """By how much qpos differs after so many steps of random actions, in the median and at most of 10 seeds.

        The motions are chaotic: with one cone, a change of 1e-6 at the start has grown to about 0.2 after 50 steps.
        """
        engine, gaps = physics("ant"), []
        for seed in range(10):
            theirs = gym_env("ant", seed)
            state = state_of(theirs.unwrapped.data)
            for action in actions(engine.model, steps):
                theirs.step(action[0, 0].numpy())
                state = engine.step(state, action).state
            gaps.append(np.abs(state.qpos[0, 0].numpy() - theirs.unwrapped.data.qpos).max())
        assert typical / 2 < np.median(gaps) < 2 * typical
        assert max(gaps) < 2 * most


@pytest.mark.parametrize("family", PARAMS)
class TestHiddenBodies:
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


def test_a_plain_loop_moves_as_steps_do():
    engine = physics("half_cheetah")
    data = mujoco.MjData(engine.model)
    lanes, control = [state_of(data)] * 2, torch.cat(list(actions(engine.model, 5)))[:, :1].transpose(0, 1)
    start = [torch.cat([getattr(lane, name)[0] for lane in lanes]) for name in ("qpos", "qvel")]
    found = engine.plain_loop(*start, control.expand(2, -1, -1))
    state = lanes[0]
    for t in range(5):
        state = engine.step(state, control[:, t : t + 1]).state
        assert found[:, t] == pytest.approx(state.qpos[0].expand(2, -1), abs=1e-9)
