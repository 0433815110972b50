"""Robots with hidden goals and bodies: rewards, ends, and the laws of tasks."""

import math

import numpy as np
import pytest
import torch
from torch import Generator

import envs
from envs.locomotion.robot import Robot
from envs.physics.base import PhysicsState
from envs.physics.model import load_model

FAMILIES = [
    "half-cheetah-vel",
    "half-cheetah-dir",
    "ant-vel",
    "ant-dir",
    "ant-goal",
    "walker2d-params",
    "hopper-params",
]
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


@pytest.mark.parametrize("family", FAMILIES)
def test_rewards_follow_the_formula(family):
    env = envs.make(family, "pearl" if family == "ant-dir" else None)
    task = env.sample_tasks(4, generator())
    state = walk(env, task)
    action = 1.5 * torch.randn(4, 2, env.action_space.shape[0], generator=generator(2))
    result = env.step(task, state, action, generator())
    clipped = action.clamp(-1, 1)
    forces = env.physics.step(state, clipped, env.scales(task)).contact_force  # checked in test_models.py
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
    [("half-cheetah-vel", 1, 17), ("ant-vel", 2, 27), ("ant-dir", 2, 27), ("ant-goal", 0, 29),
     ("walker2d-params", 1, 17), ("hopper-params", 1, 11)],
)  # fmt: skip
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


class TestDirectionsOfTheAnt:
    def test_angles_are_in_radians(self):
        """Elsewhere forward and backward are 1 and -1, read as radians."""
        env = envs.make("ant-dir")
        angles = env.sample_tasks(100, generator()).angle
        assert sorted({round(float(x), 5) for x in angles}) == [0.0, round(math.pi, 5)]
        task = env.task_from_dicts([{"angle": x} for x in (0.0, math.pi, math.pi / 2, 1.0)])
        state = walk(env, task[:1], 1).map(lambda x: x.expand(4, *x.shape[1:]))
        result = env.step(task, state, torch.zeros(4, 1, 8), generator())
        dx, dy = ((result.state.qpos - state.qpos)[0, 0, :2] / 0.05).tolist()
        earned = result.reward[:, 0].numpy()
        assert earned[0] - earned[1] == pytest.approx(2 * dx, abs=1e-5)
        assert earned[2] - earned[1] == pytest.approx(dx + dy, abs=1e-5)
        assert earned[3] - earned[1] == pytest.approx(dx + math.cos(1) * dx + math.sin(1) * dy, abs=1e-5)

    def test_the_chart_shows_the_velocity_along_the_direction(self):
        env = envs.make("ant-dir", "pearl")
        task = env.task_from_dicts([{"angle": math.pi / 2}])
        position = torch.tensor([[0.0, 0.0], [1.0, 0.1], [2.0, -0.1]])
        episode = PhysicsState(torch.cat([position, torch.zeros(3, 13)], -1), torch.zeros(3, 14), torch.zeros(3, 14))
        chart = env.chart(task[0], episode)
        assert chart.values == pytest.approx([0, 2, -4], abs=1e-5) and chart.target is None
        assert env.marks(task[0])[0].angle == pytest.approx(math.pi / 2)
        goal = envs.make("ant-goal")
        chart = goal.chart(goal.task_from_dicts([{"goal": [0.0, -0.1]}])[0], episode)
        assert chart.values == pytest.approx([0.1, math.hypot(1, 0.2), 2.0], abs=1e-5) and chart.target == 0


class TestLawsOfTasks:
    """Splits lie where their sentences say."""

    def draw(self, family, split, preset=None, **fields):
        return envs.make(family, preset, **fields).sample_tasks(20_000, generator(5), split)

    @pytest.mark.parametrize("split", ["train", "test"])
    @pytest.mark.parametrize(("family", "top"), [("half-cheetah-vel", 2.0), ("ant-vel", 3.0)])
    def test_goal_velocities(self, family, top, split):
        v, ood = (self.draw(family, name).goal_velocity for name in (split, "ood"))
        assert v.min() >= 0 and v.max() <= top and v.mean().item() == pytest.approx(top / 2, rel=0.02)
        assert ood.min() >= top and ood.max() <= 1.5 * top and ood.mean().item() == pytest.approx(1.25 * top, rel=0.01)

    def test_two_directions_and_those_at_right_angles(self):
        for split, expected in {"train": (0, 1), "test": (0, 1), "ood": (0.5, 1.5)}.items():
            values, counts = torch.unique(self.draw("ant-dir", split).angle, return_counts=True)
            assert values.numpy() / math.pi == pytest.approx(np.array(expected), abs=1e-6)
            assert counts[0] / 20_000 == pytest.approx(0.5, abs=0.02)

    def test_any_direction(self):
        for split in ("train", "test"):
            angle = self.draw("ant-dir", split, "pearl").angle
            assert angle.min() >= 0 and angle.max() <= np.float32(2 * math.pi)
            quarters = torch.histc(angle, 4, 0, 2 * math.pi) / 20_000
            assert quarters.numpy() == pytest.approx(np.full(4, 0.25), abs=0.015)
        assert "outside which no direction lies" in envs.make("ant-dir", "pearl").splits["test"]
        with pytest.raises(envs.InputError, match="Unknown split 'ood'"):
            self.draw("ant-dir", "ood", "pearl")

    def test_goals_are_uniform_in_the_disk_and_the_ring(self):
        for split, inner, outer in (("train", 0.0, 3.0), ("test", 0.0, 3.0), ("ood", 3.0, 4.5)):
            goal = self.draw("ant-goal", split).goal
            squared = goal.square().sum(-1)
            assert squared.min() >= inner**2 * (1 - 1e-5) and squared.max() <= outer**2 * (1 + 1e-5)
            below = (squared < (inner**2 + outer**2) / 2).float().mean()  # half of the area
            assert below.item() == pytest.approx(0.5, abs=0.02)
            assert goal.mean(0).numpy() == pytest.approx(np.zeros(2), abs=0.06)

    @pytest.mark.parametrize("family", PARAMS)
    def test_factors_have_uniform_exponents(self, family):
        shapes = {"body_mass": "nbody", "body_inertia": "nbody", "geom_friction": "ngeom", "dof_damping": "nv"}
        model = load_model(PARAMS[family])
        for split in ("train", "test", "ood"):
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


def fallen(env: Robot, z: float, angle: float = 0.0, speed: float = 0.0) -> bool:
    """Has a robot fallen at this height (m), lean (rad) and speed of the last joint (rad/s)?"""
    m = env.physics.model
    state = PhysicsState(*(torch.zeros(1, 1, n, dtype=torch.float64) for n in (m.nq, m.nv, m.nv)))
    state.qpos[..., 1 if env.planar else 2] = z
    if env.planar:
        state.qpos[..., 2] = angle
    state.qvel[..., -1] = speed
    return env.fallen(state).item()


@pytest.mark.parametrize(
    ("family", "stands", "falls"),
    [
        ("ant-vel", [(0.2,), (0.6,), (1.0,)], [(0.19,), (1.01,), (-1.0,)]),
        ("ant-dir", [(0.2,), (0.6,), (1.0,)], [(0.19,), (1.01,)]),
        ("ant-goal", [(0.2,), (0.0,), (5.0,)], []),
        ("half-cheetah-vel", [(-1.0, 9.0, 999.0)], []),
        ("walker2d-params", [(0.81, 0.99), (1.99, -0.99, 999.0)], [(0.79,), (2.01,), (1.2, 1.01), (1.2, -1.01)]),
        ("hopper-params", [(0.71, 0.19, 99.0), (9.0, -0.19, -99.0)],
         [(0.69,), (1.2, 0.21), (1.2, -0.21), (1.2, 0.0, 101.0), (1.2, 0.0, -101.0)]),
    ],
)  # fmt: skip
def test_episodes_terminate_in_a_fall(family, stands, falls):
    env = envs.make(family)
    assert not any(fallen(env, *where) for where in stands)
    assert all(fallen(env, *where) for where in falls)


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


@pytest.mark.parametrize(
    ("family", "fields", "said"),
    [
        ("half-cheetah-vel", {"control_cost": -1.0}, "control_cost must not be negative, as -1.0 is."),
        ("half-cheetah-vel", {"max_velocity": 0.0}, "max_velocity must lie in (0, 10] m/s, not 0.0."),
        ("half-cheetah-dir", {"horizon": 0}, "horizon must be at least 1 step, not 0."),
        ("ant-vel", {"max_velocity": math.nan}, "max_velocity must lie in (0, 10] m/s, not nan."),
        ("ant-vel", {"contact_cost": math.inf}, "contact_cost must not be negative, as inf is."),
        ("ant-dir", {"directions": "three"}, "directions must be 'two' or 'any', not 'three'."),
        ("ant-dir", {"survive_bonus": math.inf}, "survive_bonus must be a finite number, not inf."),
        ("ant-goal", {"goal_radius": -3.0}, "goal_radius must lie in (0, 10] m, not -3.0."),
        ("hopper-params", {"max_exponent": 11.0}, "max_exponent must lie in (0, 10], not 11.0."),
        ("walker2d-params", {"survive_bonus": math.nan}, "survive_bonus must be a finite number, not nan."),
    ],
)
def test_an_impossible_parameter_is_answered_in_one_sentence(family, fields, said, sentence):
    with pytest.raises(envs.InputError) as caught:
        envs.make(family, **fields)
    assert sentence(caught) == said
