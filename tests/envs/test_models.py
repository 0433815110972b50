"""The robots' models against Gymnasium's: the same numbers, and the same motions to the last bit."""

import re
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
import torch

import envs
from envs.physics.base import Physics, PhysicsState
from envs.physics.engines import make_physics
from envs.physics.model import MODELS, load_model

ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
THEIRS = {
    "half_cheetah": ("HalfCheetah-v5", "half_cheetah.xml"),
    "ant": ("Ant-v5", "ant.xml"),
    "walker2d": ("Walker2d-v5", "walker2d_v5.xml"),
    "hopper": ("Hopper-v5", "hopper.xml"),
}
LOOKS = re.compile(
    r"(cam|light|mat|tex|names?|numeric|n(cam|light|mat|names|names_map|numeric|numericdata|tex|texdata))_?"
)
MEMORY = {"narena", "nbuffer", "signature"}
DIFFERENT = {
    # The scales of solver tolerances: the compiler does not renew them when it scales the masses, mj_setConst does.
    "half_cheetah": {"geom_user", "nuser_geom", "stat.meaninertia", "stat.meanmass"},
    # The cone on which the C engine and Warp agree, and the sensor that makes engines compute contact forces.
    "ant": {"opt.cone", "nsensor", "nsensordata", *(x for x in dir(mujoco.MjModel) if x.startswith("sensor_"))},
    "walker2d": set(),
    "hopper": set(),
}


def numbers(model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """All fields of a model but those for rendering, names and memory."""
    found = {}
    for prefix, holder in (("", model), ("opt.", model.opt), ("stat.", model.stat)):
        for name in dir(holder):
            value = None if name.startswith("_") else getattr(holder, name)
            if isinstance(value, int | float | np.ndarray) and not LOOKS.match(name) and name not in MEMORY:
                found[prefix + name] = np.asarray(value)
    return {name: x for name, x in found.items() if name not in ("geom_rgba", "geom_matid")}


def physics(name: str, contact_forces: bool = False) -> Physics:
    return make_physics(
        name, 5 if name in ("ant", "half_cheetah") else 4, "mujoco", torch.device("cpu"), contact_forces
    )


def state_of(data: mujoco.MjData) -> PhysicsState:
    """The state of one lane, copied from MuJoCo's own."""
    return PhysicsState(*(torch.from_numpy(x.copy())[None, None] for x in (data.qpos, data.qvel, data.qacc_warmstart)))


def equals(state: PhysicsState, data: mujoco.MjData) -> bool:
    return all(torch.equal(a, b) for a, b in zip(vars(state).values(), vars(state_of(data)).values(), strict=True))


def gym_env(name: str, seed: int = 0, **options) -> gymnasium.Env:
    """Gymnasium's own environment, after a reset."""
    if name != "half_cheetah":
        options["terminate_when_unhealthy"] = False
    env = gymnasium.make(THEIRS[name][0], max_episode_steps=10_000, **options)
    env.reset(seed=seed)
    return env


def actions(model: mujoco.MjModel, steps: int) -> torch.Tensor:
    return torch.rand(steps, 1, 1, model.nu, generator=torch.Generator().manual_seed(5)) * 2 - 1


@pytest.mark.parametrize("name", THEIRS)
def test_the_numbers_are_gymnasiums(name):
    ours, theirs = numbers(load_model(name)), numbers(mujoco.MjModel.from_xml_path(str(ASSETS / THEIRS[name][1])))
    assert len(ours) > 200 and ours.keys() == theirs.keys()
    different = {x for x in ours if not np.array_equal(ours[x], theirs[x])}
    assert different <= DIFFERENT[name]
    if name == "ant":
        assert ours["opt.cone"] == mujoco.mjtCone.mjCONE_ELLIPTIC and theirs["opt.cone"] == 0
        assert ours["nsensor"] == 1 and theirs["nsensor"] == 0
    if name == "half_cheetah":
        assert ours["body_subtreemass"][0] == pytest.approx(14)
        assert ours["stat.meaninertia"] == pytest.approx(5.599, abs=1e-3)
        assert theirs["stat.meaninertia"] == pytest.approx(3.723, abs=1e-3)


@pytest.mark.parametrize("name", ["half_cheetah", "walker2d", "hopper"])
def test_gymnasiums_motions_are_repeated_bit_for_bit(name):
    theirs, engine = gym_env(name), physics(name)
    data = theirs.unwrapped.data
    state = state_of(data)
    for action in actions(engine.model, 200):
        theirs.step(action[0, 0].numpy())
        state = engine.step(state, action).state
        assert equals(state, data)


def test_rewards_of_half_cheetah_follow_from_gymnasiums_velocity():
    theirs, env = gym_env("half_cheetah"), envs.make("half-cheetah-vel")
    state, task = state_of(theirs.unwrapped.data), env.task_from_dicts([{"goal_velocity": 1.3}])
    for action in actions(env.physics.model, 200):
        *_, info = theirs.step(action[0, 0].numpy())
        result = env.step(task, state, action, torch.Generator())
        expected = -abs(info["x_velocity"] - 1.3) - 0.05 * np.square(action.numpy()).sum()
        assert result.reward.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
        state = result.state


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

    def test_without_a_sensor_forces_would_silently_be_zero(self):
        text = (MODELS / "ant.xml").read_text()
        model = mujoco.MjModel.from_xml_string(re.sub(r"<sensor>.*</sensor>", "", text, flags=re.DOTALL))
        data = mujoco.MjData(model)
        mujoco.mj_step(model, data, nstep=100)
        assert data.ncon > 0 and (data.cfrc_ext == 0).all()

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
