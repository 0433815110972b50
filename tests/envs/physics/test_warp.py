"""MuJoCo Warp against MuJoCo's C engine. Without the kernels in Warp's cache, this file compiles for a minute.

HalfCheetah is chaotic: the C engine itself, from positions that differ by 1e-7, is 1e-4 apart after 10 steps and at
another place after 100. So most comparisons are of one step, from states that float32 can hold.
"""

from __future__ import annotations

import contextlib
import io
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Generator

import envs
from envs.physics.base import SCALABLE, PhysicsState, PhysicsStep
from envs.physics.cpu import CpuPhysics
from envs.physics.model import MODELS, load_model

if TYPE_CHECKING:
    from envs.physics.warp import WarpPhysics

pytestmark = pytest.mark.skipif(find_spec("mujoco_warp") is None, reason="needs metarl-toolkit[warp]")
N, E, SKIP = 2, 3, 5
CPU = torch.device("cpu")


def standing(num_tasks: int = N, num_envs: int = E, seed: int = 0) -> PhysicsState:
    """Random states around the one in which HalfCheetah stands on the floor."""
    generator = Generator().manual_seed(seed)
    qpos = 0.1 * (2 * torch.rand(num_tasks, num_envs, 9, generator=generator) - 1)
    return PhysicsState(qpos, torch.randn(qpos.shape, generator=generator), torch.zeros_like(qpos))


def actions(seed: int, num_tasks: int = N, num_envs: int = E) -> torch.Tensor:
    return 2 * torch.rand(num_tasks, num_envs, 6, generator=Generator().manual_seed(seed)) - 1


def pressed() -> PhysicsState:
    """The same states, deep enough in the floor for contacts in all lanes."""
    state = standing()
    state.qpos[..., 1] -= 0.2
    return state


def landed(physics: WarpPhysics) -> PhysicsState:
    """States after a few steps, in which most lanes touch the floor."""
    state = standing()
    for i in range(8):
        state = physics.step(state, actions(i)).state
    return state


def double(state: PhysicsState) -> PhysicsState:
    return state.map(torch.Tensor.double)


def single(state: PhysicsState) -> PhysicsState:
    return state.map(torch.Tensor.float)


def same(a: PhysicsStep, b: PhysicsStep) -> bool:
    pairs = zip((*vars(a.state).values(), a.diverged), (*vars(b.state).values(), b.diverged), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def assert_close(result: PhysicsState, expected: PhysicsState) -> None:
    """Equal up to what a step makes of float32's rounding, in contacts and out of them."""
    torch.testing.assert_close(result.qpos.cpu().double(), expected.qpos.cpu().double(), rtol=0, atol=5e-5)
    torch.testing.assert_close(result.qvel.cpu().double(), expected.qvel.cpu().double(), rtol=0, atol=5e-3)
    assert (result.qpos.cpu() - expected.qpos.cpu()).abs().median() < 1e-6
    size = 1 + expected.warmstart.cpu().abs().amax(-1)  # accelerations are large where contacts are made
    assert ((result.warmstart.cpu() - expected.warmstart.cpu()).abs().amax(-1) < 5e-3 * size).all()


@pytest.fixture(scope="module")
def engine():
    """The module, which is imported by these tests alone, and not by every process that collects them."""
    from envs.physics import warp

    return warp


@pytest.fixture(scope="module")
def model():
    return load_model("half_cheetah")


@pytest.fixture(scope="module")
def cpu(model) -> CpuPhysics:
    return CpuPhysics(model, SKIP)


@pytest.fixture(scope="module")
def built(engine, model) -> tuple[WarpPhysics, str]:
    """The engine after its first step, and what it printed till then."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        physics = engine.WarpPhysics(model, SKIP, CPU, contact_forces=True)
        physics.step(standing(), actions(0))
    return physics, printed.getvalue()


@pytest.fixture
def warp(built) -> WarpPhysics:
    return built[0]


@pytest.fixture(scope="module")
def cuda(engine, model) -> WarpPhysics:
    return engine.WarpPhysics(model, SKIP, torch.device("cuda"), contact_forces=True)


@pytest.mark.slow
class TestStep:
    def test_it_is_quiet(self, built):
        assert built[1] == ""

    def test_each_step_agrees_with_the_c_engine(self, warp, cpu):
        state = standing()
        for i in range(30):
            result, expected = warp.step(state, actions(i)), cpu.step(double(state), actions(i))
            assert_close(result.state, expected.state)
            assert not result.diverged.any()
            state = single(expected.state)
        assert state.qpos[..., 0].abs().max() > 0.2, "they went somewhere"

    def test_an_episode_agrees_with_the_c_engine(self, warp, cpu):
        state, expected = standing(), double(standing())
        for i in range(10):
            state, expected = warp.step(state, actions(i)).state, cpu.step(expected, actions(i)).state
        torch.testing.assert_close(state.qpos.double(), expected.qpos, rtol=0, atol=2e-3)

    def test_it_is_a_function_of_its_arguments(self, warp):
        state, action = standing(), actions(1)
        copy = state.map(torch.clone)
        first = warp.step(state, action)
        kept = first.map(torch.clone)
        warp.step(standing(seed=7), actions(8))
        assert same(first, kept), "a result is not a view of what the next step overwrites"
        assert same(first, warp.step(state, action))
        assert torch.equal(state.qpos, copy.qpos) and torch.equal(state.qvel, copy.qvel)
        assert torch.equal(action, actions(1))
        assert first.state.qpos.dtype == warp.dtype == torch.float32

    def test_a_lane_steps_as_it_would_alone(self, engine, warp):
        state, action = standing(), actions(1)
        whole = warp.step(state, action)
        for n, e in ((1, 1), (1, 2), (1, 3), (2, 2)):  # with the first 6 lanes, one set of buffers more than are kept
            assert same(warp.step(state[:n, :e], action[:n, :e]), whole[:n, :e])
        assert len(warp._lanes) == engine.MAX_LANES
        assert same(warp.step(state, action), whole)

    def test_actions_with_gradients_do_not_reach_the_buffers(self, warp):
        result = warp.step(standing(), actions(1).requires_grad_())
        assert not result.state.qpos.requires_grad and same(result, warp.step(standing(), actions(1)))

    def test_contact_forces_are_those_of_the_c_engine(self, warp, model):
        import mujoco

        state = landed(warp)
        forces = warp.step(state, actions(8)).contact_force.numpy()
        expected = np.zeros((N, E, model.nbody, 6))
        data = mujoco.MjData(model)
        for n, e in np.ndindex(N, E):
            mujoco.mj_resetData(model, data)
            data.qpos, data.qvel = state.qpos[n, e].numpy(), state.qvel[n, e].numpy()
            data.qacc_warmstart, data.ctrl = state.warmstart[n, e].numpy(), actions(8)[n, e].numpy()
            mujoco.mj_step(model, data, SKIP - 1)
            mujoco.mj_forward(model, data)
            mujoco.mj_rnePostConstraint(model, data)
            expected[n, e] = data.cfrc_ext
        assert (np.abs(expected).max((2, 3)) > 50).sum() >= 3
        np.testing.assert_allclose(forces, expected, rtol=1e-3, atol=0.05)


@pytest.mark.slow
class TestScales:
    @pytest.mark.parametrize("name", SCALABLE)
    def test_a_scaled_model_agrees_with_the_c_engine(self, warp, cpu, model, name):
        factor = torch.ones(N, *getattr(model, name).shape)
        factor[1] *= 1.5
        state, action = pressed(), actions(1)
        result = warp.step(state, action, {name: factor})
        assert_close(result.state, cpu.step(double(state), action, {name: factor}).state)
        plain = warp.step(state, action).state.qpos
        assert torch.equal(result.state.qpos[0], plain[0])
        assert ((result.state.qpos[1] - plain[1]).abs().amax(-1) > 1e-4).all()

    def test_they_are_bound_when_other_values_come_in(self, warp, cpu):
        state, action = standing(), actions(1)
        scales = {"body_mass": torch.ones(N, 8), "body_inertia": torch.ones(N, 8, 3)}
        before = warp.step(state, action, scales)
        scales["body_mass"] *= 2
        after = warp.step(state, action, scales)
        assert not torch.equal(before.state.qpos, after.state.qpos)
        assert_close(after.state, cpu.step(double(state), action, scales).state)
        assert same(before, warp.step(state, action, {name: torch.ones_like(x) for name, x in scales.items()}))


@pytest.mark.slow
class TestTrouble:
    @pytest.mark.parametrize("value", [np.nan, np.inf, 1e12])
    def test_a_lane_that_diverges_is_put_back_and_the_others_go_on(self, warp, value):
        state, action = standing(), actions(1)
        expected = warp.step(state, action)
        bad = state.map(torch.clone)
        bad.qvel[1, 2, 4] = value
        result = warp.step(bad, action)
        assert result.diverged.nonzero().tolist() == [[1, 2]]
        fresh = result.state[1, 2]
        assert torch.equal(fresh.qpos, torch.zeros(9)) and not fresh.qvel.any() and not fresh.warmstart.any()
        others = ~result.diverged
        assert same(result[others], expected[others])
        assert result.contact_force.isfinite().all()
        assert same(warp.step(state, action), expected)

    def test_nothing_is_left_of_a_diverged_lane(self, warp):
        low, high, action = standing(), standing(), torch.zeros(N, E, 6)
        low.qpos[..., 1] -= 0.3  # many contacts
        high.qpos[..., 1] += 2.0
        high.qpos[..., 3] = 1.2  # and here nothing but a joint beyond its limit
        expected = warp.step(high, action)
        low.qpos[0, 1, 5] = np.nan
        assert warp.step(low, action).diverged.sum() == 1
        assert same(warp.step(high, action), expected)

    def test_lost_contacts_are_not_silent(self, engine, model, monkeypatch, sentence):
        enough = engine.capacity
        monkeypatch.setattr(engine, "capacity", lambda model, pairs: (1, enough(model, pairs)[1]))
        physics, state = engine.WarpPhysics(model, SKIP, CPU, contact_forces=True), standing(1, 2)
        state.qpos[..., 1] -= 0.3
        physics.step(state, actions(1, 1, 2))
        with pytest.warns(UserWarning, match="more contacts or constraints") as caught:
            physics.step(state, actions(1, 1, 2))
            physics.step(state, actions(1, 1, 2))
        assert len(caught) == 1
        sentence(caught[0].message)


@pytest.mark.slow
class TestEnv:
    @pytest.fixture
    def env(self):
        return envs.make("half-cheetah-vel", engine="warp")

    def test_an_episode_on_it(self, env):
        task, draws = env.sample_tasks(N, Generator().manual_seed(0)), Generator().manual_seed(1)
        state, obs = env.reset(task, E, draws)
        assert state.qpos.dtype == torch.float32
        for _ in range(5):
            action = env.random_actions(task, state, None, draws)
            first, second = (env.step(task, state, action, draws) for _ in range(2))
            assert torch.equal(first.obs, second.obs) and torch.equal(first.reward, second.reward)
            state, obs = first.state, first.obs
            assert all(env.observation_space.contains(row) for row in obs.flatten(0, 1).numpy())
            assert first.reward.shape == first.terminated.shape == (N, E)
            assert first.reward.dtype == torch.float32 and first.reward.isfinite().all()
        assert env.metrics() == {"diverged": 0.0}

    def test_it_pays_what_the_c_engine_pays(self, env):
        other = envs.make("half-cheetah-vel", engine="mujoco")
        task = env.sample_tasks(N, Generator().manual_seed(0))
        state, obs = env.reset(task, E, Generator().manual_seed(1))
        expected_state, expected_obs = other.reset(task, E, Generator().manual_seed(1))
        torch.testing.assert_close(obs, expected_obs, rtol=0, atol=1e-6)
        result = env.step(task, state, actions(1), Generator())
        expected = other.step(task, expected_state, actions(1), Generator())
        torch.testing.assert_close(result.reward, expected.reward, rtol=0, atol=1e-3)
        torch.testing.assert_close(result.obs, expected.obs, rtol=0, atol=5e-3)


@pytest.mark.parametrize("name", sorted(path.stem for path in MODELS.glob("*.xml")))
def test_buffers_hold_what_a_model_can_touch(engine, name):
    """Dropped from all heights, turned, bent and half buried, it never has more contacts or constraints."""
    import mujoco
    import mujoco_warp

    model = load_model(name)
    contacts, rows = engine.capacity(model, mujoco_warp.put_model(model).nxn_geom_pair_filtered.numpy())
    data, random = mujoco.MjData(model), np.random.default_rng(0)
    most = 0
    for _ in range(500):
        data.qpos = model.qpos0 + random.normal(size=model.nq)
        mujoco.mj_forward(model, data)
        most = max(most, data.ncon)
        assert data.ncon <= contacts and data.nefc <= rows
    assert most > contacts / 3, "room for what is possible, and not for much more"


def test_a_device_it_does_not_know_is_refused(engine, model, sentence):
    with pytest.raises(envs.InputError, match="not on 'meta'") as error:
        engine.WarpPhysics(model, SKIP, torch.device("meta"))
    sentence(error)


def test_its_absence_is_named(monkeypatch, sentence):
    monkeypatch.setitem(sys.modules, "mujoco_warp", None)
    monkeypatch.delitem(sys.modules, "envs.physics.warp", raising=False)
    with pytest.raises(envs.InputError, match=r'pip install "metarl-toolkit\[warp\]"') as error:
        envs.make("half-cheetah-vel", engine="warp")
    sentence(error)


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestCuda:
    def test_each_step_agrees_with_the_c_engine(self, cuda, cpu):
        state = standing()
        for i in range(30):
            result, expected = cuda.step(state.to("cuda"), actions(i).cuda()), cpu.step(double(state), actions(i))
            assert all(x.is_cuda for x in (*vars(result.state).values(), result.diverged, result.contact_force))
            assert_close(result.state, expected.state)
            state = single(expected.state)

    def test_it_agrees_with_the_same_engine_on_the_cpu(self, cuda, warp):
        state, action = landed(warp), actions(8)
        scales = {name: torch.full((N, 1), 1.5) for name in ("body_mass", "dof_damping")}
        for bound in (None, scales):
            expected = warp.step(state, action, bound)
            result = cuda.step(state.to("cuda"), action.cuda(), bound and {k: x.cuda() for k, x in bound.items()})
            assert_close(result.state, expected.state)
            torch.testing.assert_close(result.contact_force.cpu(), expected.contact_force, rtol=1e-2, atol=1.0)

    def test_it_runs_on_the_current_stream(self, cuda):
        state, action = standing().to("cuda"), actions(1).cuda()
        expected = cuda.step(state, action)
        torch.cuda.synchronize()
        with torch.cuda.stream(torch.cuda.Stream()):
            result = cuda.step(state, action)
            torch.cuda.current_stream().synchronize()
            assert_close(result.state, expected.state)

    def test_steps_do_not_wait_for_the_device(self, cuda):
        state, action = standing().to("cuda"), actions(1).cuda()
        cuda.step(state, action)
        torch.cuda.set_sync_debug_mode("error")
        try:
            cuda.step(state, action)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    def test_a_lane_that_diverges_is_put_back_and_the_others_go_on(self, cuda):
        state, action = standing().to("cuda"), actions(1).cuda()
        expected = cuda.step(state, action)
        bad = state.map(torch.clone)
        bad.qvel[1, 2, 4] = torch.nan
        result = cuda.step(bad, action)
        assert result.diverged.nonzero().tolist() == [[1, 2]] and not result.state.qpos[1, 2].any()
        others = ~result.diverged
        assert_close(result[others].state, expected[others].state)
        assert_close(cuda.step(state, action).state, expected.state)
